"""What a locomotion task commands: reward and achievement from how a robot moved, and the tasks' distribution.

Axes: n environments, k task.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from metarl.envs.family import Array, Mask
from metarl.envs.mujoco_physics import MjModel


class Motion(NamedTuple):
    """What goals look at, at the end of a timestep."""

    velocity: Array  # [n] forward (x), in this timestep [m/s]
    mean_velocity: Array  # [n] forward, over the episode so far [m/s]
    position: Array  # [n, 2] x, y [m]


class Goal(ABC):
    """What a task commands; subclasses are frozen dataclasses."""

    task_names: tuple[str, ...]  # k names with units
    achieved_name: str  # what `achieved` measures, with its unit
    low: tuple[float, ...]  # [k]
    high: tuple[float, ...]  # [k]

    def valid(self, tasks: Array) -> Mask:
        """Which rows [n, k] are tasks, [n]."""
        return np.all((tasks >= self.low) & (tasks <= self.high), axis=1)

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """n rows of the training distribution, [n, k]: uniform between low and high."""
        return rng.uniform(self.low, self.high, (n, len(self.low)))

    def parameters(self, model: MjModel, tasks: Array) -> dict[str, Array]:
        """Fields of the model that the task changes, each [n, ...]."""
        return {}

    @abstractmethod
    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The goal's term of the reward, [n]."""

    @abstractmethod
    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """What the task commands, as reached so far, [n]."""

    def commanded(self, tasks: Array) -> Array | None:
        """The value of `achieved` that the task asks for, [n]; None where it is as much, or as little, as can be."""
        return None


@dataclass(frozen=True)
class Velocity(Goal):
    """Run forward at a velocity uniform in [0, `fastest`] m/s: reward bonus - |v - g|."""

    fastest: float
    bonus: float = 0.0

    task_names = ("velocity [m/s]",)
    achieved_name = "mean velocity [m/s]"
    low = (0.0,)

    @property
    def high(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The fastest."""
        return (self.fastest,)

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The negative distance of the velocity from the goal, and a bonus for every timestep."""
        return self.bonus - np.abs(motion.velocity - tasks[:, 0])

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Mean velocity."""
        return motion.mean_velocity

    def commanded(self, tasks: Array) -> Array:
        """The velocity."""
        return tasks[:, 0]


@dataclass(frozen=True)
class Direction(Goal):
    """Run forward (1) or backward (-1), equally likely, as fast as possible: reward d v."""

    task_names = ("direction (1 or -1)",)
    achieved_name = "mean velocity in the direction [m/s]"
    low, high = (-1.0,), (1.0,)

    def valid(self, tasks: Array) -> Mask:
        """Plus or minus one."""
        return np.abs(tasks[:, 0]) == 1

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Signs, [n, 1]."""
        return rng.choice((-1.0, 1.0), (n, 1))

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The velocity in the direction."""
        return tasks[:, 0] * motion.velocity

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Mean velocity in the direction."""
        return tasks[:, 0] * motion.mean_velocity


@dataclass(frozen=True)
class Position(Goal):
    """Go to a place uniform in [-reach, reach]^2 m: reward bonus - |x - g_x| - |y - g_y|."""

    reach: float
    bonus: float = 0.0

    task_names = ("goal_x [m]", "goal_y [m]")
    achieved_name = "distance to the goal, |dx| + |dy| [m]"

    @property
    def low(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A corner."""
        return (-self.reach, -self.reach)

    @property
    def high(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The opposite one."""
        return (self.reach, self.reach)

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The negative distance to the goal, and a bonus for every timestep."""
        return self.bonus - self.achieved(motion, tasks)

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Distance to the goal."""
        return np.abs(motion.position - tasks).sum(axis=1)


@dataclass(frozen=True)
class Masses(Goal):
    """Run forward with a body whose parts have other masses: reward v. The task scales each part's mass and inertia."""

    bodies: tuple[str, ...]
    least: float = 0.5
    most: float = 1.5

    achieved_name = "mean velocity [m/s]"

    @property
    def task_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One factor for each body."""
        return tuple(f"mass of {body} [x]" for body in self.bodies)

    @property
    def low(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The lightest."""
        return (self.least,) * len(self.bodies)

    @property
    def high(self) -> tuple[float, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The heaviest."""
        return (self.most,) * len(self.bodies)

    def parameters(self, model: MjModel, tasks: Array) -> dict[str, Array]:
        """body_mass [n, bodies] and body_inertia [n, bodies, 3]."""
        scale = np.ones((len(tasks), model.nbody))
        scale[:, [model.body(name).id for name in self.bodies]] = tasks
        return {"body_mass": scale * model.body_mass, "body_inertia": scale[:, :, None] * model.body_inertia}

    def reward(self, motion: Motion, tasks: Array) -> Array:
        """The velocity."""
        return motion.velocity

    def achieved(self, motion: Motion, tasks: Array) -> Array:
        """Mean velocity."""
        return motion.mean_velocity
