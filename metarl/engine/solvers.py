"""Solvers that know only callables: conjugate gradient for the direction of a step, line search for its length."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Matvec = Callable[[Tensor], Tensor]  # v [P] -> A v [P]


class ConjugateGradient(NamedTuple):
    """The result of `conjugate_gradient`: x [P] with A x ~ b, and how far it was solved."""

    x: Tensor
    iterations: int
    residual: float  # |b - A x|^2
    quadratic: float  # x^T (A + damping I) x, computed as x^T (b - residual); nan where a product was not finite


def conjugate_gradient(
    matvec: Matvec, b: Tensor, *, iterations: int = 10, tolerance: float = 1e-10, damping: float = 0.0
) -> ConjugateGradient:
    """Solve (A + damping I) x = b for a symmetric positive definite A (Hestenes and Stiefel 1952), from x = 0.

    Stops after `iterations` products, when the squared norm of the residual falls below `tolerance`, or at a direction
    of non-positive or non-finite curvature; x is then what the steps before made it.

    Args:
        matvec: v [P] -> A v [P].
        b: right-hand side [P].
        iterations: products at most.
        tolerance: squared norm of the residual.
        damping: multiple of the identity that is added to A.
    """
    x = torch.zeros_like(b)
    residual = b.clone()
    direction = b.clone()
    squared = residual.dot(residual)
    step = 0
    while step < iterations and squared >= tolerance:
        product = matvec(direction) + damping * direction
        curvature = direction.dot(product)
        if not torch.isfinite(curvature):
            return ConjugateGradient(x, step, squared.item(), math.nan)
        if curvature <= 0:
            break
        alpha = squared / curvature
        x = x + alpha * direction
        residual = residual - alpha * product
        previous = squared
        squared = residual.dot(residual)
        direction = residual + (squared / previous) * direction
        step += 1
    return ConjugateGradient(x, step, squared.item(), x.dot(b - residual).item())


class LineSearch(NamedTuple):
    """The result of `backtracking_line_search`; on rejection `scale` is 0 and loss and divergence are the old ones."""

    scale: float
    loss: float
    divergence: float
    backtracks: int
    accepted: bool


def backtracking_line_search(
    evaluate: Callable[[float], tuple[float, float]],
    old_loss: float,
    *,
    max_divergence: float,
    ratio: float = 0.8,
    attempts: int = 15,
) -> LineSearch:
    """The first of the scales ratio^k, k = 0 .. attempts - 1, with a lower loss and divergence <= max_divergence.

    Args:
        evaluate: scale of the full step -> loss, divergence. A non-finite value never qualifies.
        old_loss: the loss at scale 0.
        max_divergence: largest divergence that qualifies.
        ratio: factor from one scale to the next, in (0, 1).
        attempts: scales that are tried at most.
    """
    for backtracks in range(attempts):
        scale = ratio**backtracks
        loss, divergence = evaluate(scale)
        if loss < old_loss and divergence <= max_divergence:
            return LineSearch(scale, loss, divergence, backtracks, True)
    return LineSearch(0.0, old_loss, 0.0, attempts, False)
