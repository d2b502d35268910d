"""Outer optimisers: how the meta-parameters move, given what a `MetaObjective` answers.

An `OuterOptimizer` is two pure functions; its state is a dict of tensors, saved with every checkpoint.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.trust_region import (
    CURVATURES,
    EPSILON,
    FINITE_DIFFERENCES,
    Matvec,
    backtracking_line_search,
    conjugate_gradient,
)

State = dict[str, Tensor]
Info = dict[str, float]


# no step was even tried
REFUSED: Info = {"improvement": 0.0, "kl": 0.0, "backtracks": 0.0, "accepted": 0.0, "cg_iterations": 0.0}


def _nonfinite(**values: float) -> Info:
    """`nonfinite` 1, and `nonfinite_NAME` 1 of each value that is not finite; nothing if all are."""
    broken = {f"nonfinite_{name}": 1.0 for name, value in values.items() if not math.isfinite(value)}
    return {"nonfinite": 1.0, **broken} if broken else {}


class OuterOptimizer(NamedTuple):
    """init(theta) -> state;  step(theta, state, objective) -> theta, state, info (the `outer/*` metrics)."""

    init: Callable[[Params], State]
    step: Callable[[Params, State, MetaObjective], tuple[Params, State, Info]]


def adam(
    *,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    gradient_clip: float | None = None,
) -> OuterOptimizer:
    """Adam on the meta-gradient (Kingma and Ba 2015, algorithm 1). A non-finite gradient leaves theta as it is.

    Args:
        learning_rate, beta1, beta2, epsilon: as in the paper.
        gradient_clip: largest absolute value of any entry of the gradient; None: no limit.
    """

    def init(theta: Params) -> State:
        zeros = torch.zeros_like(ravel(theta))
        return {"step": torch.zeros((), dtype=torch.float64), "mean": zeros, "square": zeros.clone()}

    def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        loss, gradient = objective.loss_and_gradient(theta)
        g = ravel(gradient)
        info = {"loss": loss, "grad_norm": g.norm().item(), "nonfinite": 0.0}
        if broken := _nonfinite(loss=loss, gradient=info["grad_norm"]):
            return theta, state, info | broken
        if gradient_clip is not None:
            g = g.clamp(-gradient_clip, gradient_clip)
        t = state["step"] + 1
        mean = beta1 * state["mean"] + (1 - beta1) * g
        square = beta2 * state["square"] + (1 - beta2) * g**2
        update = mean / (1 - beta1**t) / ((square / (1 - beta2**t)).sqrt() + epsilon)
        moved = add(theta, unravel(update, theta), scale=-learning_rate)
        if broken := _nonfinite(parameters=ravel(moved).abs().max().item()):  # an overflow
            return theta, state, info | broken
        return moved, {"step": t, "mean": mean, "square": square}, info

    return OuterOptimizer(init, step)


def trpo(
    *,
    max_kl: float,
    cg_iterations: int = 10,
    cg_tolerance: float = 1e-10,
    cg_damping: float = 1e-5,
    curvature: str = "gauss_newton",
    curvature_fraction: float = 1.0,
    curvature_tasks: float = 1.0,
    epsilon: float = EPSILON,
    backtrack_ratio: float = 0.8,
    max_backtracks: int = 15,
) -> OuterOptimizer:
    """Trust region policy optimisation of the meta-objective (Schulman et al. 2015; Finn et al. 2017, section 4.2).

    maximise the linearised improvement g^T s subject to s^T H s / 2 <= max_kl:
    s = H^-1 g by conjugate gradient, scaled by sqrt(2 max_kl / s^T H s), shortened until the loss falls and the
    divergence keeps to max_kl. If no length qualifies theta stays, and `accepted` says so.

    Raises:
        ValueError: an unknown curvature.
    """
    if curvature not in CURVATURES:
        raise ValueError(f"unknown curvature {curvature!r}: choose one of {', '.join(CURVATURES)}")
    options = {"epsilon": epsilon} if CURVATURES[curvature] in FINITE_DIFFERENCES else {}

    def natural_direction(matvec: Matvec, g: Tensor) -> tuple[Tensor, float, float]:
        """The vector s ~ (H + damping I)^-1 g, s^T (H + damping I) s, and the iterations taken."""
        solution = conjugate_gradient(matvec, g, iterations=cg_iterations, tolerance=cg_tolerance, damping=cg_damping)
        s, quadratic = solution.x, solution.quadratic
        if quadratic > 0 and CURVATURES[curvature] in FINITE_DIFFERENCES:  # not linear: as the authors, anew
            quadratic = s.dot(matvec(s) + cg_damping * s).item()
        return s, quadratic, float(solution.iterations)

    def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        loss, gradient = objective.loss_and_gradient(theta)
        g = ravel(gradient).double()
        info = {"loss": loss, "grad_norm": g.norm().item(), "nonfinite": 0.0}
        if broken := _nonfinite(loss=loss, gradient=info["grad_norm"]):
            return theta, state, info | REFUSED | broken

        s, quadratic, info["cg_iterations"] = natural_direction(
            objective.curvature(theta, curvature, curvature_fraction, curvature_tasks, **options), g
        )
        if not (quadratic > 0 and math.isfinite(quadratic)):  # 0: no gradient, or no positive curvature along it
            return theta, state, REFUSED | info | _nonfinite(curvature=quadratic)
        length = math.sqrt(2 * max_kl / (quadratic + 1e-8))  # 1e-8: the authors' release
        full_step = unravel(length * s, theta)

        theta, found = _line_search(
            objective, theta, full_step, loss, max_kl=max_kl, ratio=backtrack_ratio, attempts=max_backtracks
        )
        return theta, state, info | found

    return OuterOptimizer(lambda theta: {}, step)


def _line_search(
    objective: MetaObjective,
    theta: Params,
    full_step: Params,
    loss: float,
    *,
    max_kl: float,
    ratio: float,
    attempts: int,
) -> tuple[Params, Info]:
    """Theta after the longest step that qualifies (theta itself if none does), and how that was found."""
    tried: list[Info] = []

    def evaluate(scale: float) -> tuple[float, float]:
        moved_loss, kl = objective.loss_and_divergence(add(theta, full_step, -scale))
        tried.append(_nonfinite(loss=moved_loss, kl=kl))
        return moved_loss, kl

    search = backtracking_line_search(evaluate, loss, max_divergence=max_kl, ratio=ratio, attempts=attempts)
    info = {
        "improvement": loss - search.loss,
        "kl": search.divergence,
        "backtracks": float(search.backtracks),
        "accepted": float(search.accepted),
    }
    if not search.accepted:
        return theta, info | (tried[-1] if all(tried) else {})  # steps that only were too long are refused, not broken
    return add(theta, full_step, -search.scale), info
