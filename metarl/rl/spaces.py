"""Gymnasium's spaces as policies see them: observations are flat vectors, actions are vectors of numbers.

Axes: n environments, O observation, A action.
"""

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

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


# What flattening an observation has been seen to raise where the observation is not of its space.
NOT_OF_THE_SPACE = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def require_shape(shape: tuple[int, ...], right: tuple[int, ...]) -> None:
    """Raise ValueError unless an observation has the shape of its space: as many numbers may be in another order.

    Axes of length 1 may lack or be more, and the numbers may be in one row.
    """
    if shape != right and [n for n in shape if n != 1] not in ([n for n in right if n != 1], [math.prod(right)]):
        raise ValueError(f"a shape of {list(shape)} in place of {list(right)}")


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
    if isinstance(space, Box | MultiBinary | MultiDiscrete):
        require_shape(np.shape(observations)[1:], space.shape)
    if isinstance(space, Discrete):
        return _one_hot(np.asarray(observations) - space.start, int(space.n))
    if isinstance(space, MultiDiscrete):
        numbers = (np.asarray(observations) - space.start).reshape(len(observations), -1)
        counts = space.nvec.reshape(-1)
        return np.concatenate([_one_hot(numbers[:, i], int(count)) for i, count in enumerate(counts)], axis=1)
    if isinstance(space, Dict):
        return np.concatenate([_of_part(part, observations[name]) for name, part in space.spaces.items()], axis=1)
    if isinstance(space, Tuple):
        return np.concatenate([_of_part(part, observations[i]) for i, part in enumerate(space.spaces)], axis=1)
    return np.asarray(observations).reshape(len(observations), -1)


def _of_part(part: Space, observations: Any) -> NDArray[Any]:
    """The flat observations of a part. Raises ValueError for more or fewer numbers, which another part may make up."""
    flat = _flat(part, observations)
    require_shape(np.shape(flat)[1:], (flatdim(part),))
    return flat


def _one_hot(numbers: NDArray[Any], count: int) -> NDArray[np.float64]:
    if (numbers < 0).any():
        raise IndexError("a choice lies before the first one")
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
    """The number of numbers in one action, A.

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


class Interface(NamedTuple):
    """The spaces that an environment and a policy have in common, in words that tell different ones apart."""

    observations: str
    actions: str

    @staticmethod
    def of(observations: Space, actions: Space) -> "Interface":
        """The interface of the spaces of single observations and actions."""
        return Interface(in_words(observations), in_words(actions))


def require_unchanged(trained: Interface, present: Interface, whose: str) -> None:
    """Raise ValueError, naming both, unless a policy can see and act in spaces as it was trained to.

    Args:
        trained: what the policy was trained with.
        present: the environment's that it shall act in.
        whose: the environment in words.
    """
    for kind, before, now in zip(Interface._fields, trained, present, strict=True):
        if before != now:
            raise ValueError(f"{whose} is not what the policy was trained in: {kind} were of {before} and are of {now}")


def in_words(space: Space) -> str:
    """A space in words: its kind, sizes and bounds. The type of its numbers makes no difference to a policy."""
    if isinstance(space, Box):
        bounds = zip(space.low.reshape(-1).tolist(), space.high.reshape(-1).tolist(), strict=True)
        runs = [(f"[{low:.9g}, {high:.9g}]", len(list(same))) for (low, high), same in groupby(bounds)]
        within = runs[0][0] if len(runs) == 1 else ", ".join(f"{count} x {words}" for words, count in runs)
        return f"Box{list(space.shape)} in {within}"
    if isinstance(space, Discrete):
        return f"Discrete({space.n})" + (f" from {space.start}" if space.start else "")
    if isinstance(space, MultiDiscrete):
        return f"MultiDiscrete({space.nvec.tolist()})" + (f" from {space.start.tolist()}" if space.start.any() else "")
    if isinstance(space, Dict):
        return f"Dict({', '.join(f'{name}: {in_words(part)}' for name, part in space.spaces.items())})"
    if isinstance(space, Tuple):
        return f"Tuple({', '.join(map(in_words, space.spaces))})"
    return str(space)
