"""Spaces of users' environments as policies see them: observations are flat vectors, real actions lie in [-1, 1].

Axes: O numbers of a flattened observation, A of an action.
"""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple, flatten, flatten_space
from numpy.typing import NDArray

from metarl.arrays import Array
from metarl.numeric import numeric
from metarl.rl.spaces import require_shape

DISCRETE = (Discrete, MultiDiscrete, MultiBinary)


def policy_observations(space: Space) -> Box:
    """The space of flattened observations, a vector [O]; a vector stays as it is.

    Raises:
        ValueError: the space has no vectors of fixed length, such as a graph.
    """
    if isinstance(space, Box) and len(space.shape) == 1:
        flat = space
    else:
        flat = flatten_space(space) if space.is_np_flattenable else None
    if isinstance(flat, Box) and flat.shape[0]:
        return flat
    raise ValueError(
        f"observations must be a vector (Box) of at least one number, or of a space that Gymnasium flattens to one; "
        f"got {space}"
    )


def policy_actions(space: Space) -> Space:
    """The space that policies act in: [-1, 1] in every direction of real actions, choices as they are.

    Raises:
        ValueError: actions have no bounds, or are neither real nor discrete.
    """
    if isinstance(space, DISCRETE):
        return space
    if not isinstance(space, Box) or not space.is_bounded() or 0 in space.shape:
        raise ValueError(
            f"its actions must be a bounded vector (Box), or discrete (Discrete, MultiDiscrete, MultiBinary); got "
            f"{space}"
        )
    return Box(-1.0, 1.0, (int(np.prod(space.shape)),), np.float64)


def flat_observation(space: Space, observation: Any) -> Array:
    """Flatten an observation to a vector [O]; observations of a Box may also be many at once, [..., O].

    An observation that is not of the space raises one of `NOT_OF_THE_SPACE`.
    """
    if not isinstance(space, Box):
        _require_of_parts(space, observation)
        return np.asarray(flatten(space, observation), np.float64)
    values = numeric(observation)
    if values is None:
        raise TypeError("it is no array of numbers")
    values = values.astype(np.float64)
    if not space.shape:
        return values[..., None]
    many = values.shape[: max(0, values.ndim - len(space.shape))]
    # Of vectors, the number of numbers says all, and who asks looks at it.
    if len(space.shape) > 1:
        require_shape(values.shape[len(many) :], space.shape)
    return values.reshape(*many, -1)


def _require_of_parts(space: Space, observation: Any) -> None:
    """Raise an error for what Gymnasium would flatten to something else.

    Raises:
        IndexError: a choice before the first one, of which it makes one of the last.
        LookupError: a part that is missing.
        ValueError: a part whose shape is another, such as one of as many numbers in another order.
    """
    if isinstance(space, Discrete | MultiDiscrete) and np.any(np.asarray(observation) < space.start):
        raise IndexError("a choice lies before the first one")
    if isinstance(space, Box | MultiBinary | MultiDiscrete):
        require_shape(np.shape(observation), space.shape)
    if isinstance(space, Dict) and (lacking := [name for name in space.spaces if name not in observation]):
        raise LookupError(f"it has no part {lacking[0]!r}")
    if isinstance(space, Dict | Tuple):
        parts = space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces)
        for name, part in parts:
            _require_of_parts(part, observation[name])


def own_actions(space: Space, actions: NDArray[Any]) -> NDArray[Any]:
    """Make an environment's actions [..., *A] of actions [..., A] in `policy_actions(space)`.

    Real actions are clipped to [-1, 1], of which -1 becomes the environment's lower bound and 1 the upper one.
    """
    if not isinstance(space, Box):
        return actions
    low, high = space.low, space.high
    shares = (actions.clip(-1, 1).reshape(*actions.shape[:-1], *space.shape) + 1) / 2
    if np.issubdtype(space.dtype, np.integer):
        return _whole(np.rint(_between(low.astype(np.float64), high.astype(np.float64), shares)), space)
    return np.asarray(_between(low, high, shares).astype(space.dtype).clip(low, high))


def _between(low: NDArray[Any], high: NDArray[Any], shares: NDArray[Any]) -> NDArray[Any]:
    """The numbers that lie at these shares of the way from low to high."""
    with np.errstate(over="ignore"):
        width = high - low
    # The width of a range may be too large for the type of its bounds.
    return low + shares * width if np.isfinite(width).all() else low * (1 - shares) + high * shares


def _whole(chosen: NDArray[Any], space: Box) -> NDArray[Any]:
    """Whole numbers in the type of a space and within its bounds, which float64 may have rounded up."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    inside = np.where((low < chosen) & (chosen < high), chosen, 0.0).astype(space.dtype)
    return np.where(chosen <= low, space.low, np.where(chosen >= high, space.high, inside))
