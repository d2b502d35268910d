"""Arrays that the formulas of families take: NumPy's, or tensors of torch on any device.

A formula is written once, in what both libraries share: operators, `abs`, `.sum(axis=)`, `.all(axis=)`, `.clip(min=)`,
and functions of the same name, which `namespace` finds in the right library.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def namespace(array: Array) -> Any:
    """The library that an array belongs to, numpy or torch, as a module."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def nowhere(rows: Array) -> Mask:
    """False for each of the rows [n, ...], [n]."""
    library = namespace(rows)
    return library.zeros_like(rows[:, 0], dtype=library.bool)
