"""Arrays that the formulas of families take: NumPy's, or tensors of torch on any device.

A formula is written once, in what both libraries share: operators, `abs`, `.sum(axis=)`, `.all(axis=)`, `.clip(min=)`,
and the functions that both call the same, in the library that `namespace` gives.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def namespace(array: Array) -> Any:
    """The library whose array it is: numpy or torch, which then is loaded already."""
    return sys.modules[type(array).__module__.partition(".")[0]]
