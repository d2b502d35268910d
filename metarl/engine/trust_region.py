"""The three parts of a trust-region step: curvature products, conjugate gradient, backtracking line search.

Knows only callables. A kind of curvature takes functions of ONE task, theta, and the data of M tasks, and returns each
task's products v -> H_i v. H_i is the Hessian of the divergence from predict(theta), at theta: its gradient there
is zero, so that H_i is exactly the Gauss-Newton matrix J^T F J.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from metarl.engine.params import Params, add, ravel

Matvec = Callable[[Tensor], Tensor]
Data = Any  # a pytree of tensors, a leading M on every leaf; without it for one task
Predict = Callable[[Params, Data], Any]  # parameters and data of one task -> outputs
Divergence = Callable[[Any, Any, Data], Tensor]  # outputs at theta, outputs, and data of one task -> scalar
Products = Callable[[Params], Params]  # v -> H_i v, leaves [M, ...]

EPSILON = 3e-3  # float32: rounding below, truncation above (experiments/results/benchmark_hvp.json)


def forward_difference(
    predict: Predict, divergence: Divergence, theta: Params, data: Data, *, epsilon: float = EPSILON
) -> Products:
    """H v ~ grad(theta + h v) / h with h = epsilon / norm(v): one gradient, since the gradient at theta is zero."""
    gradients = _divergence_gradients(predict, divergence, theta, data)

    def products(v: Params) -> Params:
        h = epsilon / ravel(v).norm()
        return {name: leaf / h for name, leaf in gradients(add(theta, v, h)).items()}

    return products


def symmetric_difference(
    predict: Predict, divergence: Divergence, theta: Params, data: Data, *, epsilon: float = EPSILON
) -> Products:
    """H v ~ (grad(theta + h v) - grad(theta - h v)) / 2h with h = epsilon / norm(v): the paper's (section 5.3)."""
    gradients = _divergence_gradients(predict, divergence, theta, data)

    def products(v: Params) -> Params:
        h = epsilon / ravel(v).norm()
        plus, minus = gradients(add(theta, v, h)), gradients(add(theta, v, -h))
        return {name: (leaf - minus[name]) / (2 * h) for name, leaf in plus.items()}

    return products


def gauss_newton(predict: Predict, divergence: Divergence, theta: Params, data: Data) -> Products:
    """H v = J^T F J v: J of `predict`, F the Hessian of `divergence` in the outputs; exact where its gradient is 0.

    The graph of `predict` is kept: a product is a sweep through it forward, and one back. Reverse mode does for both
    (its operators run without Python): J v is the derivative of u -> J^T u, which is linear in u; F is symmetric.

    The graph is taken outside vmap. In torch 2.13 that is wrong, by about a percent, below layers that normalise and
    scale by an adapted weight in one call (layer_norm, batch_norm with a weight): `model.from_module` parts the two.
    """
    copies = vmap(lambda _: theta)(data)  # a theta for each task: products come apart by task
    outputs, pullback, *_ = vjp(lambda thetas: vmap(predict)(thetas, data), copies)
    _, pushforward, *_ = vjp(lambda cotangents: pullback(cotangents)[0], outputs)
    _, fisher, *_ = vjp(lambda outs: vmap(grad(divergence, 1))(outputs, outs, data), outputs)

    @torch.no_grad()
    def products(v: Params) -> Params:
        (tangents,) = pushforward(vmap(lambda _: v)(data))
        return pullback(*fisher(tangents))[0]

    return products


def exact(predict: Predict, divergence: Divergence, theta: Params, data: Data) -> Products:
    """H v by forward-over-reverse differentiation, third derivatives of the model included."""
    old_outputs = _outputs(predict, theta, data)

    def one_task(v: Params, old_outputs_i: Any, data_i: Data) -> Params:
        gradient = grad(lambda params: divergence(old_outputs_i, predict(params, data_i), data_i))
        return jvp(gradient, (theta,), (v,))[1]

    return lambda v: vmap(one_task, (None, 0, 0))(v, old_outputs, data)


def _divergence_gradients(
    predict: Predict, divergence: Divergence, theta: Params, data: Data
) -> Callable[[Params], Params]:
    """Parameters -> the gradient there of each task's divergence from theta, leaves [M, ...]."""
    old_outputs = _outputs(predict, theta, data)

    def one_task(params: Params, old_outputs_i: Any, data_i: Data) -> Params:
        return grad(lambda moved: divergence(old_outputs_i, predict(moved, data_i), data_i))(params)

    return lambda params: vmap(one_task, (None, 0, 0))(params, old_outputs, data)


@torch.no_grad()
def _outputs(predict: Predict, theta: Params, data: Data) -> Any:
    return vmap(predict, (None, 0))(theta, data)


CURVATURES: dict[str, Callable[..., Products]] = {
    "symmetric": symmetric_difference,
    "forward": forward_difference,
    "gauss_newton": gauss_newton,
    "exact": exact,
}


FINITE_DIFFERENCES = (symmetric_difference, forward_difference)  # the kinds that take an epsilon


class ConjugateGradient(NamedTuple):
    """The result of `conjugate_gradient`: x [P] with A x ~ b, the steps taken, and what is known of A x then."""

    x: Tensor
    iterations: int
    residual: float  # |b - A x|^2
    quadratic: float  # x^T A x = x^T (b - residual), damping included, if A is linear; nan: a product was not finite


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
    squared, step = residual.dot(residual), 0
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
        previous, squared = squared, residual.dot(residual)
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
    """
    for backtracks in range(attempts):
        scale = ratio**backtracks
        loss, divergence = evaluate(scale)
        if loss < old_loss and divergence <= max_divergence:
            return LineSearch(scale, loss, divergence, backtracks, True)
    return LineSearch(0.0, old_loss, 0.0, attempts, False)
