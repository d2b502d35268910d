"""Goals of locomotion: what a task commands, the reward and `achieved` of a motion, and the distribution of tasks.

Axes: n environments, k task. The formulas take NumPy's arrays or torch's (metarl/arrays.py).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from metarl.arrays import Array
from metarl.envs.tasks import NOTHING, Sign, Uniform
from metarl.rl.environments import TaskDistribution


class Motion(NamedTuple):
    """What goals depend on, at the end of a timestep."""

    velocity: Array  # [n] forward (x), in this timestep [m/s]
    mean_velocity: Array  # [n] forward, over the episode so far [m/s]
    position: Array  # [n, 2] x, y [m]


class Goal(ABC):
    """Base of the goals; subclasses are frozen dataclasses."""

    tasks: TaskDistribution  # distribution of the numbers of a task that belong to the goal
    achieved_name: str  # what `achieved` measures, with its unit

    @abstractmethod
    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The goal's term of the reward, [n]."""

    @abstractmethod
    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """The present value of what the task commands, [n]."""

    def commanded(self, tasks: Array) -> Array | None:
        """The value of `achieved` that the task asks for, [n]; None where it asks for the most or the least."""
        return None


@dataclass(frozen=True)
class Forward(Goal):
    """Run forward as fast as possible, whatever the task: reward v."""

    achieved_name = "mean velocity [m/s]"
    tasks = NOTHING

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The velocity."""
        return motion.velocity

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Mean velocity."""
        return motion.mean_velocity


@dataclass(frozen=True)
class Velocity(Goal):
    """Run forward at a velocity uniform in [0, `fastest`] m/s: reward bonus - |v - g|."""

    fastest: float
    bonus: float = 0.0

    achieved_name = "mean velocity [m/s]"

    @property
    def tasks(self) -> Uniform:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The velocity."""
        return Uniform(("velocity [m/s]",), (0.0,), (self.fastest,))

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The negative distance of the velocity from the goal, and a bonus for every timestep."""
        return self.bonus - abs(motion.velocity - tasks[:, 0])

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Mean velocity."""
        return motion.mean_velocity

    def commanded(self, tasks: Array) -> Array:
        """The velocity."""
        return tasks[:, 0]


@dataclass(frozen=True)
class Direction(Goal):
    """Run forward (1) or backward (-1), equally likely, as fast as possible: reward `weight` d v."""

    weight: float = 1.0

    achieved_name = "mean velocity in the direction [m/s]"
    tasks = Sign("direction (1 or -1)")

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The velocity in the direction, times the weight."""
        return self.weight * tasks[:, 0] * motion.velocity

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Mean velocity in the direction."""
        return tasks[:, 0] * motion.mean_velocity


@dataclass(frozen=True)
class Position(Goal):
    """Go to a place uniform in [-reach, reach]^2 m: reward bonus - |x - g_x| - |y - g_y|."""

    reach: float
    bonus: float = 0.0

    achieved_name = "distance to the goal, |dx| + |dy| [m]"

    @property
    def tasks(self) -> Uniform:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The place."""
        return Uniform(("goal_x [m]", "goal_y [m]"), (-self.reach, -self.reach), (self.reach, self.reach))

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The negative distance to the goal, and a bonus for every timestep."""
        return self.bonus - self.achieved(motion, tasks)

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Distance to the goal."""
        return abs(motion.position - tasks).sum(axis=1)
