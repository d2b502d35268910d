"""Checks of what callers pass to vector environments: seeds, masks, options and actions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metarl.arguments import require_integers, require_room
from metarl.arrays import Array, Mask, on_device

ENVIRONMENT_BYTES = 1024  # that one environment takes at least: its generator of random numbers


def require_environments(num_envs: int) -> None:
    """Raise ValueError for a number of environments that is none, or for which no machine like this has room."""
    require_integers(1, num_envs=num_envs)
    require_room(num_envs * ENVIRONMENT_BYTES, f"num_envs {num_envs}: so many environments")


def checked_options(options: dict[str, Any] | None) -> dict[str, Any]:
    """The options of a reset, which may be `tasks` and `reset_mask`. Raises ValueError for others."""
    if unknown := sorted(set(options or {}) - {"tasks", "reset_mask"}):
        raise ValueError(f"unknown reset option {unknown[0]!r}: choose tasks or reset_mask")
    return options or {}


def checked_seeds(seed: int | Sequence[int | None] | None, n: int) -> list[int | None]:
    """A seed or None for each of n environments; s stands for s, s + 1, ... Raises ValueError for a wrong number."""
    if seed is None:
        return [None] * n
    if isinstance(seed, (int, np.integer)):
        return [int(seed) + i for i in range(n)]
    seeds = list(seed)
    if len(seeds) != n:
        raise ValueError(f"need one seed for each of {n} environments; got {len(seeds)}")
    return seeds


def checked_mask(mask: ArrayLike | None, n: int) -> Mask:
    """A mask of n booleans; None gives all true. Raises ValueError for anything else."""
    if mask is None:
        return np.ones(n, dtype=np.bool_)
    array = np.asarray(mask)
    if array.shape != (n,) or array.dtype != np.bool_:
        raise ValueError(f"reset_mask must be {n} booleans; got {array.dtype} {array.shape}")
    return array


def check_first(first: bool, mask: Mask) -> None:
    """Raise ValueError for a first reset that leaves environments out."""
    if first and not mask.all():
        raise ValueError("the first reset must start every environment; reset_mask leaves some out")


def checked_tensors(actions: Any, expected: tuple[int, ...] | None, like: Any) -> Any:
    """Actions as a tensor like the states' on their device. Raises ValueError for another shape.

    Whether they are finite is not looked at, which would wait for the device.
    """
    tensor = on_device(actions, like.device, like.dtype)
    if tuple(tensor.shape) != expected:
        raise ValueError(f"actions must have shape {expected}; got {tuple(tensor.shape)}")
    return tensor


def checked_actions(actions: ArrayLike, expected: tuple[int, ...] | None, running: Mask) -> Array:
    """Actions as float64. Raises ValueError for another shape, or a running environment whose action is not finite."""
    array = np.asarray(actions, dtype=np.float64)
    if array.shape != expected:
        raise ValueError(f"actions must have shape {expected}; got {array.shape}")
    broken = running & ~np.isfinite(array).all(1)
    if broken.any():
        i = np.flatnonzero(broken)[0]
        raise ValueError(f"actions must be finite; environment {i} got {array[i]}")
    return array
