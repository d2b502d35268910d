"""metarl: meta-training with MAML. `engine` is the heart, `rl` and `supervised` the problems, `training` the rest.

In one's own program: `metarl.load_agent(run_dir)`, `agent.adapt(env, task)`, `agent.act(observation)`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.agent import Agent, load_agent

__all__ = ["Agent", "load_agent"]


def __getattr__(name: str) -> Any:
    """What `agent.py` offers, when it is asked for: the engine needs neither Gymnasium nor a run's files."""
    if name in __all__:
        return getattr(importlib.import_module("metarl.agent"), name)
    raise AttributeError(f"module 'metarl' has no attribute {name!r}")
