"""Task-parameterised Gymnasium environments. `import metarl.envs` registers them all under `metarl/`."""

import metarl.envs.ant
import metarl.envs.half_cheetah  # registers, as metarl.envs.ant does
from metarl.envs.batched import LoopVectorEnv, TaskVectorEnv
from metarl.envs.family import TaskFamily, register
from metarl.envs.locomotion import Locomotion
from metarl.envs.navigation import Navigation2D
from metarl.envs.single import TaskEnv

__all__ = [
    "Locomotion",
    "LoopVectorEnv",
    "Navigation2D",
    "TaskEnv",
    "TaskFamily",
    "TaskVectorEnv",
    "register",
]
