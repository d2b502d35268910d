"""metarl: meta-training with MAML. `engine` is the heart, `rl` and `supervised` the problems, `training` the rest.

In one's own program: `metarl.train(problem, outer, run_dir=..., iterations=...)`, `metarl.evaluate(problem, theta)`,
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
    """What other modules offer, when it is asked for: the engine needs neither Gymnasium nor a run's files."""
    if name == "__version__":
        return importlib.metadata.version("metarl")
    if name in PLACES:
        return getattr(importlib.import_module(PLACES[name]), name)
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")
