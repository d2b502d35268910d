"""The three parts of a trust-region step: curvature products, conjugate gradient, backtracking line search.

Knows only callables. The curvature products are written for one task and vmap over many; all compute H v, where H is
the Hessian of divergence(predict(theta)) at the parameters where the divergence is measured from (its gradient there
is zero, so H is exactly the Gauss-Newton matrix J^T F J: no third derivatives are needed).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

from metarl.engine.params import Params, add, ravel

Matvec = Callable[[Tensor], Tensor]
Predict = Callable[[Params], Any]  # parameters of one task -> outputs
Divergence = Callable[[Any], Tensor]  # outputs of one task -> scalar

EPSILON = 3e-3  # float32: rounding below, truncation above (experiments/results/benchmark_hvp.json)


def forward_difference_hvp(
    predict: Predict, divergence: Divergence, theta: Params, v: Params, *, epsilon: float = EPSILON
) -> Params:
    """H v ~ grad(theta + h v) / h with h = epsilon / norm(v): one gradient, since the gradient at theta is zero."""
    h = epsilon / ravel(v).norm()
    gradient = grad(lambda params: divergence(predict(params)))(add(theta, v, h))
    return {name: leaf / h for name, leaf in gradient.items()}


def symmetric_difference_hvp(
    predict: Predict, divergence: Divergence, theta: Params, v: Params, *, epsilon: float = EPSILON
) -> Params:
    """H v ~ (grad(theta + h v) - grad(theta - h v)) / 2h with h = epsilon / norm(v): the paper's (section 5.3)."""
    plus = forward_difference_hvp(predict, divergence, theta, v, epsilon=epsilon)
    minus = forward_difference_hvp(predict, divergence, theta, v, epsilon=-epsilon)
    return {name: (leaf + minus[name]) / 2 for name, leaf in plus.items()}


def gauss_newton_hvp(predict: Predict, divergence: Divergence, theta: Params, v: Params) -> Params:
    """H v = J^T F J v: J of `predict`, F the Hessian of `divergence` in the outputs; exact where its gradient is 0."""
    outputs, tangent, *_ = jvp(predict, (theta,), (v,))
    _, cotangent, *_ = jvp(grad(divergence), (outputs,), (tangent,))
    _, pullback, *_ = vjp(predict, theta)
    return pullback(cotangent)[0]


def exact_hvp(predict: Predict, divergence: Divergence, theta: Params, v: Params) -> Params:
    """H v by forward-over-reverse differentiation, third derivatives of the model included."""
    return jvp(grad(lambda params: divergence(predict(params))), (theta,), (v,))[1]


CURVATURES: dict[str, Callable[..., Params]] = {
    "symmetric": symmetric_difference_hvp,
    "forward": forward_difference_hvp,
    "gauss_newton": gauss_newton_hvp,
    "exact": exact_hvp,
}


FINITE_DIFFERENCES = (symmetric_difference_hvp, forward_difference_hvp)  # the kinds that take an epsilon


class ConjugateGradient(NamedTuple):
    """The result of `conjugate_gradient`: x [P] with A x ~ b, steps taken, and the squared residual reached."""

    x: Tensor
    iterations: int
    residual: float


def conjugate_gradient(
    matvec: Matvec, b: Tensor, *, iterations: int = 10, tolerance: float = 1e-10, damping: float = 0.0
) -> ConjugateGradient:
    """Solve (A + damping I) x = b for a symmetric positive definite A (Hestenes and Stiefel 1952), from x = 0.

    Stops after `iterations` products, when the squared residual norm falls below `tolerance`, and on a direction of
    non-positive or non-finite curvature, where it keeps the x it has.

    Args:
        matvec: v [P] -> A v [P].
        b: right-hand side [P].
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    squared = residual.dot(residual)
    for step in range(iterations):
        if squared < tolerance:
            return ConjugateGradient(x, step, squared.item())
        product = matvec(direction) + damping * direction
        curvature = direction.dot(product)
        if not (curvature > 0 and torch.isfinite(curvature)):
            return ConjugateGradient(x, step, squared.item())
        alpha = squared / curvature
        x = x + alpha * direction
        residual = residual - alpha * product
        previous, squared = squared, residual.dot(residual)
        direction = residual + (squared / previous) * direction
    return ConjugateGradient(x, iterations, squared.item())


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
    """
    for backtracks in range(attempts):
        scale = ratio**backtracks
        loss, divergence = evaluate(scale)
        if loss < old_loss and divergence <= max_divergence:
            return LineSearch(scale, loss, divergence, backtracks, True)
    return LineSearch(0.0, old_loss, 0.0, attempts, False)
