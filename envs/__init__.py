"""Task-parameterised Gymnasium environments. `import envs` registers them all under `metarl/`."""

from envs import ant, half_cheetah
from envs.batched import TaskVectorEnv
from envs.family import TaskFamily, register
from envs.locomotion import Locomotion
from envs.navigation import Navigation2D
from envs.single import TaskEnv

__all__ = [
    "Locomotion",
    "Navigation2D",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "ant",
    "half_cheetah",
    "register",
]
