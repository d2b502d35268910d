"""The protocol of physics engines: simulations as rows of an array, stepped together.

Axes: n simulations, S state, A actuators.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from metarl.arrays import Array, Mask

if TYPE_CHECKING:
    from metarl.envs.physics.binding import MjModel

LIMIT = 1e10  # mjMAXVAL: for MuJoCo a simulation with a larger position or velocity has broken down


class Contacts(NamedTuple):
    """How contacts give way, on every geom: MuJoCo's attributes of these names."""

    solref: tuple[float, float]  # time constant [s], damping ratio
    solimp: tuple[float, float, float]  # least and largest impedance, width [m]


class Physics(ABC):
    """A model, and pure functions of states, one row for each simulation."""

    model: "MjModel"
    seconds_per_step: float  # of simulated time

    @property
    @abstractmethod
    def state_size(self) -> int:
        """S, numbers in a state."""

    @abstractmethod
    def of(self, states: Array, name: str) -> Array:
        """The columns of the states [n, S] that hold a quantity, as a view [n, size]; NumPy's arrays or torch's.

        Names are time [s], qpos, qvel, diverged (0 or 1), and those of measured quantities.
        """

    @abstractmethod
    def start(self, qpos: Array, qvel: Array, parameters: Mapping[str, Array] | None = None) -> Array:
        """States [n, S] at time 0 with given positions and velocities, without controls.

        Args:
            qpos: positions [n, nq].
            qvel: velocities [n, nv].
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
