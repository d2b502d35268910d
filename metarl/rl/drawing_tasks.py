"""Tasks as an environment's own method `sample_tasks` draws them, made rows of numbers.

Axes: n tasks, k numbers of each.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.numeric import numeric, shown
from metarl.tasks import Split

LARGEST = 2**53  # below it float64 has every whole number
RIGHT = "sample_tasks(rng, n) must draw n tasks as rows of numbers [n, k] from the NumPy generator rng"


def draw_tasks(
    sample: Callable[..., Any], rng: np.random.Generator, n: int, split: Split = "train", *, beginning: str = ""
) -> NDArray[np.float64]:
    """Draw n tasks [n, k] by an environment's `sample_tasks`: `(rng, n)`, or `(rng, n, split)` if it has splits.

    Args:
        sample: the method.
        rng: what it draws from.
        n: how many tasks.
        split: which of them, where the method has a parameter of this name.
        beginning: of messages, such as whose tasks they are.

    Raises:
        ValueError: it is no method of these parameters, or what it draws are no rows of numbers.
    """
    is_method = callable(sample)
    if not is_method:
        raise ValueError(f"{beginning}{RIGHT}; sample_tasks is {type(sample).__name__}, no method")
    by_name: dict[str, Any] = {}
    try:
        signature = inspect.signature(sample)
    except ValueError:
        # Functions in compiled code need not have one.
        signature = None
    if signature is not None:
        if "split" in signature.parameters:
            by_name["split"] = split
        try:
            signature.bind(rng, n, **by_name)
        except TypeError:
            raise ValueError(f"{beginning}{RIGHT}; its parameters are {signature}") from None
    return _rows(sample(rng, n, **by_name), n, beginning)


def _rows(drawn: Any, n: int, beginning: str) -> NDArray[np.float64]:
    """What was drawn as an array [n, k]. Raises ValueError for anything but rows of numbers."""
    rows = numeric(drawn)
    if rows is None:
        raise ValueError(f"{beginning}{RIGHT}; it drew {shown(drawn)}")
    if rows.ndim != 2 or len(rows) != n or rows.shape[1] == 0:
        hint = ": a task of one number is a row, too" if rows.shape == (n,) else ""
        raise ValueError(f"{beginning}{RIGHT}; asked for {n} it drew {rows.shape}{hint}")
    kept = rows.astype(np.float64)
    changed = rows[abs(kept) >= LARGEST] if rows.dtype.kind in "iu" else []
    if len(changed):
        raise ValueError(
            f"{beginning}{RIGHT}; whole numbers must be below 2^53, or float64 changes them; it drew {changed[0]}"
        )
    return kept
