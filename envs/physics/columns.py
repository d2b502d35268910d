"""Physics of MuJoCo whose states are rows of named columns: what the engines on threads and on a device share.

Axes: n simulations, S state.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from metarl.arrays import Mask
from metarl.envs.physics.protocol import Physics

# What MuJoCo needs to go on, beside the time, in the order of a batch's own state.
CARRIED = ("qpos", "qvel", "qacc_warmstart")


class ColumnPhysics(Physics):
    """A model, and states of named columns, of which `diverged` is the last.

    A subclass sets the three attributes when it is made.
    """

    xml: str  # path of the MJCF file
    _arguments: Mapping[str, Any]  # the other arguments that the engine was made with, by name
    _columns: Mapping[str, slice]

    def __reduce__(self) -> tuple[Callable[[], "ColumnPhysics"], tuple[()]]:
        """Rebuild pickles and copies from the arguments, with threads or worlds of their own."""
        return functools.partial(type(self), self.xml, **self._arguments), ()

    @property
    def state_size(self) -> int:
        """S, numbers in a state."""
        return self._columns["diverged"].stop

    def of(self, states: Any, name: str) -> Any:
        """The columns of the states [n, S] that hold a quantity, as a view [n, size]; NumPy's arrays or torch's.

        Names are time [s], qpos, qvel, qacc_warmstart, diverged (0 or 1), and those of measured quantities.
        """
        return states[:, self._columns[name]]

    def diverged(self, states: Any) -> Mask:
        """Where the simulation has broken down, [n]."""
        return self.of(states, "diverged")[:, 0] > 0
