"""Task-parameterised Gymnasium environments. `import envs` registers them all under `metarl/`."""

from envs.ant import ROBOTS as ANT
from envs.batched import LoopVectorEnv, TaskVectorEnv
from envs.family import TaskFamily, register
from envs.half_cheetah import ROBOTS as HALF_CHEETAH
from envs.locomotion import Locomotion
from envs.navigation import Navigation2D
from envs.single import TaskEnv

__all__ = [
    "ANT",
    "HALF_CHEETAH",
    "Locomotion",
    "LoopVectorEnv",
    "Navigation2D",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "register",
]
