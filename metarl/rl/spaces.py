"""Gymnasium's spaces as policies see them: observations are flat vectors, actions are vectors of numbers.

Axes: n environments, O observation, A action.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, flatdim
from numpy.typing import NDArray

FLATTENED = (Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple)


def observation_size(space: Space) -> int:
    """O: numbers in one flattened observation.

    Raises:
        ValueError: a space that has no flat vectors of fixed length.
    """
    if isinstance(space, Dict):
        parts = tuple(space.spaces.values())
    else:
        parts = space.spaces if isinstance(space, Tuple) else ()
    for part in parts:
        observation_size(part)
    flattens = isinstance(space, FLATTENED)
    if not flattens:
        known = ", ".join(kind.__name__ for kind in FLATTENED)
        raise ValueError(f"observations must be of a space that can be made a vector ({known}); got {space}")
    return flatdim(space)


def flat_observations(space: Space) -> Callable[[Any], NDArray[Any]]:
    """Make a function that flattens a vector environment's observations to [n, O], as `gymnasium.spaces.flatten` does.

    Args:
        space: the space of a single observation.

    Raises:
        ValueError: see `observation_size`.
    """
    observation_size(space)
    return lambda observations: _flat(space, observations)


def _flat(space: Space, observations: Any) -> NDArray[Any]:
    if isinstance(space, Box) and len(space.shape) == 1:
        return observations
    if isinstance(space, Discrete):
        return _one_hot(np.asarray(observations) - space.start, int(space.n))
    if isinstance(space, MultiDiscrete):
        numbers = (np.asarray(observations) - space.start).reshape(len(observations), -1)
        counts = space.nvec.reshape(-1)
        return np.concatenate([_one_hot(numbers[:, i], int(count)) for i, count in enumerate(counts)], axis=1)
    if isinstance(space, Dict):
        return np.concatenate([_flat(part, observations[name]) for name, part in space.spaces.items()], axis=1)
    if isinstance(space, Tuple):
        return np.concatenate([_flat(part, observations[i]) for i, part in enumerate(space.spaces)], axis=1)
    return np.asarray(observations).reshape(len(observations), -1)


def _one_hot(numbers: NDArray[Any], count: int) -> NDArray[np.float64]:
    return np.eye(count)[numbers]


def categories(space: Space) -> tuple[int, ...] | None:
    """How many choices each of the A action dimensions has; None where actions are real numbers."""
    if isinstance(space, Discrete):
        return (int(space.n),)
    if isinstance(space, MultiDiscrete):
        return tuple(int(count) for count in space.nvec.reshape(-1))
    if isinstance(space, MultiBinary):
        return (2,) * flatdim(space)
    return None


def action_size(space: Space) -> int:
    """A: numbers in one action.

    Raises:
        ValueError: actions are neither vectors of real numbers nor choices among categories.
    """
    if (counts := categories(space)) is not None:
        return len(counts)
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise ValueError(
            f"actions must be vectors (Box) or discrete (Discrete, MultiDiscrete, MultiBinary); got {space}"
        )
    return space.shape[0]


def environment_actions(space: Space) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Make a function from a policy's actions [..., A] to an environment's: whole numbers where they are categories.

    Raises:
        ValueError: see `action_size`.
    """
    action_size(space)
    if isinstance(space, Discrete):
        return lambda actions: actions[..., 0].astype(space.dtype) + space.start
    if isinstance(space, MultiDiscrete):
        return lambda actions: actions.reshape(*actions.shape[:-1], *space.shape).astype(space.dtype) + space.start
    if isinstance(space, MultiBinary):
        return lambda actions: actions.reshape(*actions.shape[:-1], *space.shape).astype(space.dtype)
    return lambda actions: actions
