"""Task-parameterised environments, which `import metarl.envs` registers with Gymnasium under `metarl/`."""

from metarl.envs.adapters.gymnasium_loop import LoopVectorEnv
from metarl.envs.adapters.gymnasium_part import GymnasiumEnvironment
from metarl.envs.batched import TaskVectorEnv
from metarl.envs.checking import check_environment
from metarl.envs.conformance import check_family
from metarl.envs.family import TaskFamily, make_family, register
from metarl.envs.locomotion import Locomotion
from metarl.envs.navigation import Navigation2D
from metarl.envs.process import TaskProcess
from metarl.envs.single import TaskEnv
from metarl.rl.environments import ENVIRONMENTS, WorkerError

# Families register themselves, so that a new one is a new file and no line here.
ENVIRONMENTS.load()

__all__ = [
    "ENVIRONMENTS",
    "GymnasiumEnvironment",
    "Locomotion",
    "LoopVectorEnv",
    "Navigation2D",
    "TaskEnv",
    "TaskFamily",
    "TaskProcess",
    "TaskVectorEnv",
    "WorkerError",
    "check_environment",
    "check_family",
    "make_family",
    "register",
]
