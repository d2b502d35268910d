"""Arrays that most code takes from either library: NumPy's, or tensors of torch on any device.

A formula is written once, in what both libraries share: operators, `abs`, `.sum(axis=)`, `.all(axis=)`, `.clip(min=)`,
and functions of the same name, which `namespace` finds in the right library.

A program runs ahead of its device, and to look at a tensor's values it must wait. So code that every timestep passes
asks `known_all` and `perhaps_any`, which look at NumPy's arrays alone: their answers of a tensor are the cautious ones.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def namespace(array: Any) -> Any:
    """The library that an array belongs to, numpy or torch, as a module."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def nowhere(rows: Array) -> Mask:
    """False for each of the rows [n, ...], [n]."""
    library = namespace(rows)
    return library.zeros_like(rows[:, 0], dtype=library.bool)


def is_tensor(array: Any) -> bool:
    """Whether an array is a tensor of torch."""
    return not isinstance(array, np.ndarray) and type(array).__module__.partition(".")[0] == "torch"


def known_all(mask: Any) -> bool:
    """Whether a mask is true everywhere; False for any tensor."""
    return not is_tensor(mask) and bool(mask.all())


def perhaps_any(mask: Any) -> bool:
    """Whether a mask is true somewhere; True for any tensor."""
    return is_tensor(mask) or bool(mask.any())


def copied(array: Any) -> Any:
    """A copy of an array, in the same library and on the same device."""
    return namespace(array).asarray(array, copy=True)


def on_host(array: Any) -> NDArray[Any]:
    """The numbers as an array of NumPy's; of a tensor, a copy that waits for its device."""
    return array.numpy(force=True) if is_tensor(array) else array


def on_device(values: Any, device: Any, dtype: Any = None) -> Any:
    """NumPy's values as a tensor on a torch device, in their own dtype or the given one; device None: as they are."""
    if device is None:
        return values
    # Imported here, because environments that stay on the host do without torch.
    import torch

    return torch.as_tensor(values, device=device, dtype=dtype)


def require_tensors(device: str) -> None:
    """Raise ValueError for a torch device on which no tensors can be made here."""
    try:
        on_device(np.zeros(1), device)
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        words = " ".join(str(error).split(". ")[0].split())[:200]
        raise ValueError(f"device {device!r} is not available here: {words}") from error
