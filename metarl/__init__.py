"""Meta-training with MAML (Finn et al. 2017), for reinforcement and supervised learning.

`engine` has the algorithm, `rl` and `supervised` its two uses, `training` the loop, files and evaluation around it.

For your own program: `metarl.train(problem, outer, run_dir=..., iterations=...)`, `metarl.evaluate(problem, theta)`,
`metarl.check_environment(env)`, `metarl.load_agent(run_dir)`, `agent.adapt(env, task)`, `agent.act(observation)`,
`agent.save(path)`.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.agent import Agent, load_agent
    from metarl.envs.checking import check_environment
    from metarl.training.runs import evaluate, train

__all__ = ["Agent", "check_environment", "evaluate", "load_agent", "train"]

PLACES = {
    "Agent": "metarl.agent",
    "load_agent": "metarl.agent",
    "check_environment": "metarl.envs.checking",
    "evaluate": "metarl.training.runs",
    "train": "metarl.training.runs",
}


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first used."""
    # Importing the engine alone then needs neither Gymnasium nor the modules for a run's files.
    if name == "__version__":
        return importlib.metadata.version("metarl")
    if name in PLACES:
        return getattr(importlib.import_module(PLACES[name]), name)
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")
