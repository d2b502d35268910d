"""Arrays of numbers, made of what users' code returns, which may be anything."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

NONE = (type(None), str, bytes)  # kinds of objects that NumPy makes numbers of, and that are none


def numeric(value: Any) -> NDArray[Any] | None:
    """The array of numbers or truth values that a value is, also of lists and torch's tensors; None where it is none.

    Texts are no numbers, and nor is None, of which NumPy makes nan, or a masked number, of which it makes what is below
    the mask. A whole number that is too large for any type of NumPy is one where float64 has it.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        return None
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and array.ndim and not any(_is_none(item) for item in array.flat):
            array = array.astype(np.float64)
    except (RuntimeError, TypeError, ValueError, OverflowError):
        # Rows of different lengths, tensors with a gradient, and whatever else NumPy cannot read.
        return None
    return array if array.dtype.kind in "fiub" else None


def _is_none(item: Any) -> bool:
    """Whether an object is no number, or a whole number that float64 would change."""
    return isinstance(item, NONE) or (isinstance(item, int) and int(float(item)) != item)


def shown(value: Any) -> str:
    """A value in a few words, for messages."""
    array = np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else None
    if array is not None and array.size > 1:
        return f"{array.dtype} {array.shape}"
    words = repr(value)
    return words if len(words) <= 80 else f"{type(value).__name__} {words[:60]}..."
