"""Variations of locomotion: how a task changes the robot's body. Goals (goals.py) say what the robot shall do.

Axes: n environments, k task.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metarl.arrays import Array
from metarl.envs.tasks import NOTHING, LogUniform, Uniform
from metarl.rl.environments import TaskDistribution

if TYPE_CHECKING:
    from metarl.envs.physics.binding import MjModel


class Variation(ABC):
    """Base of the variations; subclasses are frozen dataclasses."""

    tasks: TaskDistribution  # distribution of the numbers of a task that belong to the variation

    @abstractmethod
    def parameters(self, model: "MjModel", tasks: Array) -> dict[str, Array]:
        """Fields of the model that the tasks change, each [n, ...]."""


@dataclass(frozen=True)
class Unchanged(Variation):
    """The body of the model's file, whatever the task."""

    tasks = NOTHING

    def parameters(self, model: "MjModel", tasks: Array) -> dict[str, Array]:
        """No fields."""
        return {}


@dataclass(frozen=True)
class Masses(Variation):
    """Masses and inertias of bodies times factors, uniform in [`least`, `most`]."""

    bodies: tuple[str, ...]
    least: float = 0.5
    most: float = 1.5

    @property
    def tasks(self) -> Uniform:  # pyright: ignore[reportIncompatibleVariableOverride]
        """One factor for each body."""
        names = tuple(f"mass of {body} [x]" for body in self.bodies)
        size = len(self.bodies)
        return Uniform(names, (self.least,) * size, (self.most,) * size, positive=True)

    def parameters(self, model: "MjModel", tasks: Array) -> dict[str, Array]:
        """body_mass [n, bodies] and body_inertia [n, bodies, 3]."""
        scale = np.ones((len(tasks), model.nbody))
        scale[:, [model.body(name).id for name in self.bodies]] = tasks
        return {"body_mass": scale * model.body_mass, "body_inertia": scale[:, :, None] * model.body_inertia}


@dataclass(frozen=True)
class Factors(Variation):
    """Masses, inertias, damping and friction times factors of their own, as in rand_param_envs (Rothfuss et al. 2019).

    Every factor is base^u with u uniform in [-`limit`, `limit`]; base is 1.3 for the damping of a joint and 1.5 for
    everything else. A body has a factor for its mass and one for each of its three principal moments of inertia; a geom
    has one for its sliding friction. rand_param_envs also draws factors that have no effect: of torsional and rolling
    friction, which the robots' contacts (condim 3) do not have, and of the world's body and the free joints, which have
    neither mass nor damping.

    Args:
        bodies: names of bodies in the model's file.
        joints: names of joints, each with one degree of freedom.
        geoms: names of geoms.
        limit: largest |u|.
    """

    bodies: tuple[str, ...]
    joints: tuple[str, ...]
    geoms: tuple[str, ...]
    limit: float = 3.0

    @property
    def tasks(self) -> LogUniform:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Factors of masses, inertias, damping, friction, in this order."""
        masses = [f"mass of {body} [x]" for body in self.bodies]
        inertias = [f"inertia {axis} of {body} [x]" for body in self.bodies for axis in (1, 2, 3)]
        damping = [f"damping of {joint} [x]" for joint in self.joints]
        friction = [f"friction of {geom} [x]" for geom in self.geoms]
        names = (*masses, *inertias, *damping, *friction)
        bases = [1.3 if name in damping else 1.5 for name in names]
        return LogUniform(names, tuple(base**-self.limit for base in bases), tuple(base**self.limit for base in bases))

    def parameters(self, model: "MjModel", tasks: Array) -> dict[str, Array]:
        """body_mass [n, bodies], body_inertia [n, bodies, 3], dof_damping [n, nv], geom_friction [n, geoms, 3]."""
        n = len(tasks)
        sizes = (len(self.bodies), 3 * len(self.bodies), len(self.joints), len(self.geoms))
        masses, inertias, damping, friction = np.split(tasks, np.cumsum(sizes)[:-1], axis=1)
        bodies = [model.body(name).id for name in self.bodies]
        joints = [int(model.joint(name).dofadr[0]) for name in self.joints]
        geoms = [model.geom(name).id for name in self.geoms]
        fields = {
            name: np.tile(getattr(model, name), (n, *[1] * getattr(model, name).ndim))
            for name in ("body_mass", "body_inertia", "dof_damping", "geom_friction")
        }
        fields["body_mass"][:, bodies] *= masses
        fields["body_inertia"][:, bodies] *= inertias.reshape(n, len(bodies), 3)
        fields["dof_damping"][:, joints] *= damping
        fields["geom_friction"][:, geoms, 0] *= friction
        return fields
