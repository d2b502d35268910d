"""Curvature products: how the Hessian of a divergence is multiplied with a vector.

This module knows only callables. A kind of curvature takes functions of ONE task, theta, and the data of M tasks, and
returns each task's products v -> H_i v. H_i is the Hessian, at theta, of the divergence from predict(theta). The
divergence's gradient at theta is zero, so that H_i is exactly the Gauss-Newton matrix J^T F J.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

from metarl.engine.params import Params, add, ravel

Data = Any  # a pytree of tensors, a leading M on every leaf; without it for one task
Predict = Callable[[Params, Data], Any]  # parameters and data of one task -> outputs
Divergence = Callable[[Any, Any, Data], Tensor]  # outputs at theta, outputs, and data of one task -> scalar
Products = Callable[[Params], Params]  # v -> H_i v, leaves [M, ...]

# Best in float32: smaller steps lose to rounding, larger ones to truncation (experiments/results/benchmark_hvp.json).
EPSILON = 3e-3


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
        plus = gradients(add(theta, v, h))
        minus = gradients(add(theta, v, -h))
        return {name: (leaf - minus[name]) / (2 * h) for name, leaf in plus.items()}

    return products


def gauss_newton(predict: Predict, divergence: Divergence, theta: Params, data: Data) -> Products:
    """H v = J^T F J v, with J the Jacobian of `predict` and F the Hessian of `divergence` in the outputs.

    The graph of `predict` is kept: a product is one sweep forward through it and one back. Both use reverse mode, whose
    operators run without Python: J v is the derivative of u -> J^T u, which is linear in u; F is symmetric.

    The graph is taken outside vmap. In torch 2.13 that is wrong, by about a percent, below layers that normalise and
    scale by an adapted weight in one call (layer_norm, batch_norm with a weight): `module.from_module` separates the
    two operations.
    """
    # One theta for each task keeps the products of different tasks apart.
    copies = vmap(lambda _: theta)(data)
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
    """What `predict` makes of each task's data at theta, leaves [M, ...]."""
    return vmap(predict, (None, 0))(theta, data)


Kind = Literal["symmetric", "forward", "gauss_newton", "exact"]

CURVATURES: dict[str, Callable[..., Products]] = {
    "symmetric": symmetric_difference,
    "forward": forward_difference,
    "gauss_newton": gauss_newton,
    "exact": exact,
}

FINITE_DIFFERENCES = (symmetric_difference, forward_difference)  # the kinds that take an epsilon
