"""Algebra on parameters: a `Params` is a dict of named tensors, never the state of a module.

Names are dotted, such as `body.0.weight`. "Stacked" parameters have a leading task axis M on every leaf.
"""

from typing import Any, TypeGuard

import torch
from torch import Tensor

Params = dict[str, Tensor]


REAL = (torch.float32, torch.float64)


def is_params(found: Any) -> TypeGuard[Params]:
    """Whether an object, such as what a user's function returned, is tensors by name."""
    return isinstance(found, dict) and all(isinstance(leaf, Tensor) for leaf in found.values())


def require_real(params: Params) -> Params:
    """The same parameters. Raises ValueError for other numbers than float32 and float64, such as half precision."""
    for name, leaf in params.items():
        if leaf.dtype not in REAL:
            raise ValueError(
                f"parameters must be float32 or float64, which rollouts and losses keep; {name} is {leaf.dtype}"
            )
    return params


def finite(params: Params) -> bool:
    """Whether all numbers are finite."""
    # Of one vector, because each answer of a GPU is waited for.
    return bool(ravel(params).isfinite().all())


def joined(params: Params, added: Params, whose: str) -> Params:
    """Parameters with others added to them. Raises ValueError where a name would have two meanings.

    Args:
        params: parameters.
        added: other parameters.
        whose: who adds them, for the message.
    """
    if twice := [name for name in added if name in params]:
        raise ValueError(f"{whose} has a parameter {twice[0]!r}, and so has the model: give the model's another name")
    return params | added


def ravel(params: Params) -> Tensor:
    """All leaves as one vector [P], in the dict's order."""
    return torch.cat([leaf.reshape(-1) for leaf in params.values()])


def unravel(vector: Tensor, like: Params) -> Params:
    """The inverse of `ravel`: vector [P] -> leaves with the names, shapes and dtypes of `like`.

    Raises ValueError if the vector's length is not the number of parameters.
    """
    sizes = [leaf.numel() for leaf in like.values()]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"a vector of shape {tuple(vector.shape)} cannot become {sum(sizes)} parameters")
    pieces = vector.split(sizes)
    return {
        name: piece.reshape(leaf.shape).to(leaf.dtype) for (name, leaf), piece in zip(like.items(), pieces, strict=True)
    }


def add(params: Params, other: Params, scale: float | Tensor = 1.0) -> Params:
    """Params + scale * other, leaf by leaf."""
    return {name: leaf + scale * other[name] for name, leaf in params.items()}


def detach(params: Params) -> Params:
    """The same values, cut off from the graph: a constant under differentiation."""
    return {name: leaf.detach() for name, leaf in params.items()}


def stack(params: Params, tasks: int) -> Params:
    """One copy per task, as a view: leaf [...] -> [M, ...]."""
    return {name: leaf.expand(tasks, *leaf.shape) for name, leaf in params.items()}
