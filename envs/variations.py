"""How a locomotion task changes the robot's body; what the robot shall do with it is the goal's (goals.py).

Axes: n environments, k task.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from metarl.envs.arrays import Array
from metarl.envs.physics.models import MjModel
from metarl.envs.tasks import NOTHING, Uniform
from metarl.rl.environments import TaskDistribution


class Variation(ABC):
    """How tasks change the body; subclasses are frozen dataclasses."""

    tasks: TaskDistribution  # of the variation's own numbers

    @abstractmethod
    def parameters(self, model: MjModel, tasks: Array) -> dict[str, Array]:
        """Fields of the model that the tasks change, each [n, ...]."""


@dataclass(frozen=True)
class Unchanged(Variation):
    """The body of the model's file, whatever the task."""

    tasks = NOTHING

    def parameters(self, model: MjModel, tasks: Array) -> dict[str, Array]:
        """None."""
        return {}


@dataclass(frozen=True)
class Masses(Variation):
    """Parts of the body have other masses: factors of mass and inertia, uniform in [`least`, `most`]."""

    bodies: tuple[str, ...]
    least: float = 0.5
    most: float = 1.5

    @property
    def tasks(self) -> Uniform:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One factor for each body."""
        names, size = tuple(f"mass of {body} [x]" for body in self.bodies), len(self.bodies)
        return Uniform(names, (self.least,) * size, (self.most,) * size, positive=True)

    def parameters(self, model: MjModel, tasks: Array) -> dict[str, Array]:
        """body_mass [n, bodies] and body_inertia [n, bodies, 3]."""
        scale = np.ones((len(tasks), model.nbody))
        scale[:, [model.body(name).id for name in self.bodies]] = tasks
        return {"body_mass": scale * model.body_mass, "body_inertia": scale[:, :, None] * model.body_inertia}
