"""Task-parameterised Gymnasium environments. `import envs` registers them all under `metarl/`."""

import envs.ant
import envs.half_cheetah  # registers, as envs.ant does
from envs.batched import LoopVectorEnv, TaskVectorEnv
from envs.family import TaskFamily, register
from envs.locomotion import Locomotion
from envs.navigation import Navigation2D
from envs.single import TaskEnv

__all__ = [
    "Locomotion",
    "LoopVectorEnv",
    "Navigation2D",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "register",
]
