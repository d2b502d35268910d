"""Task-parameterised Gymnasium environments. `import envs` registers them all under `metarl/`."""

from envs.batched import TaskVectorEnv
from envs.family import TaskFamily, register
from envs.navigation import Navigation2D
from envs.single import TaskEnv

__all__ = ["Navigation2D", "TaskEnv", "TaskFamily", "TaskVectorEnv", "register"]
