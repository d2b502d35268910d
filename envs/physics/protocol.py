"""What robots ask of a physics engine: simulations as rows of an array, stepped together.

Axes: n simulations, S state, A actuators.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from metarl.envs.arrays import Array, Mask
from metarl.envs.physics.models import MjModel

LIMIT = 1e10  # mjMAXVAL: a position or velocity beyond it is a breakdown for MuJoCo


class Physics(ABC):
    """A model, and pure functions of rows: results depend on the arguments alone."""

    model: MjModel
    seconds_per_step: float  # of simulated time

    @property
    @abstractmethod
    def state_size(self) -> int:
        """S."""

    @abstractmethod
    def of(self, states: Array, name: str) -> Array:
        """The part of the states [n, S] that holds a quantity, as a view [n, size]; of arrays of either library.

        Names: time [s], qpos, qvel, diverged (0 or 1), and what is measured.
        """

    @abstractmethod
    def start(self, qpos: Array, qvel: Array, parameters: Mapping[str, Array] | None = None) -> Array:
        """States [n, S] at time 0 of given positions [n, nq] and velocities [n, nv]; no controls act.

        Args:
            qpos, qvel: positions and velocities.
            parameters: fields of MjModel that differ between simulations, each [n, ...], such as body_mass.
        """

    @abstractmethod
    def step(self, states: Array, controls: Array, parameters: Mapping[str, Array] | None = None) -> Array:
        """States [n, S] one timestep later under controls [n, A]; see `start` for the parameters.

        A simulation that breaks down keeps the state before the step, with `diverged` set.
        """

    @abstractmethod
    def diverged(self, states: Array) -> Mask:
        """Where the simulation has broken down, [n]."""
