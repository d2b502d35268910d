"""Hessian-vector products: their accuracy, their cost, and the gain of outer steps that use them."""

import statistics
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.utils._pytree import tree_map

from metarl.engine.curvature import CURVATURES, FINITE_DIFFERENCES
from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, ravel
from metarl.engine.solvers import Matvec, conjugate_gradient
from metarl.experiments.benchmarks.changed_presets import built
from metarl.experiments.benchmarks.report import relative_cost, seconds, show
from metarl.experiments.presets.configuration import preset_config
from metarl.training.checkpoint import load
from metarl.training.config import Config
from metarl.training.tree import flat, with_options

EPSILONS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
# Curvature, its fractions of timesteps and of tasks, and iterations of conjugate gradient of an outer step.
STEPS = (
    ("symmetric", 1.0, 1.0, 10),  # of the preset
    ("symmetric", 0.2, 1.0, 10),
    ("gauss_newton", 1.0, 1.0, 10),
    ("gauss_newton", 0.2, 1.0, 10),
    ("gauss_newton", 0.1, 1.0, 10),
    ("gauss_newton", 0.1, 1.0, 5),
    ("gauss_newton", 0.1, 1.0, 3),
    ("gauss_newton", 0.1, 0.5, 5),  # the default of TRPO
    ("gauss_newton", 0.1, 0.25, 5),
    ("gauss_newton", 0.02, 0.5, 5),
)
ITERATE = Path(__file__).parents[1] / "results" / "cheetah-dir-paper" / "gauss-newton-seed1" / "checkpoint.pt"


def hvp(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure every kind of product x epsilon x nonlinearity, on navigation-paper with 10 tasks, after 6 iterations.

    `error_*` are relative errors |H v - exact| / |exact| along the gradient, the exact trust-region step, and a random
    direction. `gain` is the improvement per square root of KL of the step that uses these products, as a share of the
    exact step's. `cost` is seconds of a product divided by seconds of a meta-gradient.
    """
    rows = []
    cg_iterations = 3 if quick else 10
    for activation in ("tanh", "relu"):
        config = with_options(preset_config("navigation-paper"), {"tasks": 10, "activation": activation})
        if quick:
            config = with_options(config, {"tasks": 2, "episodes": 3, "horizon": 10, "hidden_sizes": (8, 8)})
        damping = flat(config)["cg_damping"]
        single, exact = _objectives(config, iterations=1 if quick else 6)
        gradient = ravel(exact.loss_and_gradient(exact.theta_old)[1])
        reference = exact.curvature(exact.theta_old, "exact")
        best = conjugate_gradient(reference, gradient, iterations=cg_iterations, damping=damping).x
        noise = torch.randn(len(best), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        directions = {"gradient": gradient, "step": best, "random": noise}
        products = {name: reference(v) for name, v in directions.items()}
        for kind in CURVATURES:
            epsilons = EPSILONS[3:4] if quick else EPSILONS
            for epsilon in epsilons if CURVATURES[kind] in FINITE_DIFFERENCES else (None,):
                options = {} if epsilon is None else {"epsilon": epsilon}
                matvec = single.curvature(single.theta_old, kind, **options)
                errors = {
                    f"error_{name}": ((matvec(v) - products[name]).norm() / products[name].norm()).item()
                    for name, v in directions.items()
                }
                step = conjugate_gradient(matvec, gradient, iterations=cg_iterations, damping=damping).x
                gain = _improvement(step, gradient, reference) / _improvement(best, gradient, reference)
                cost = relative_cost(
                    lambda matvec=matvec, v=noise: matvec(v),
                    lambda objective=single: objective.loss_and_gradient(objective.theta_old),
                    repeats=1 if quick else 5,
                )
                row = {"activation": activation, "kind": kind, "epsilon": epsilon, **errors, "gain": gain, "cost": cost}
                rows.append(row)
    show(console, "Hessian-vector products in float32", rows)
    return rows


def _objectives(config: Config, *, iterations: int) -> tuple[MetaObjective, MetaObjective]:
    """The objective after some meta-iterations in float32, and in float64 with the same data."""
    _, options, problem, outer = built(with_options(config, {"curvature": "gauss_newton"}))
    theta = problem.initial_parameters(options.seed)
    for iteration in range(iterations):
        theta, _, _ = outer.step(theta, {}, problem.collect(theta, iteration)[0])
    single, _ = problem.collect(theta, iterations)

    def double(tree: Any) -> Any:
        return tree_map(torch.Tensor.double, tree)

    theta64: Params = double(theta)
    support = double(single.support)
    query = double(single.query)
    return single, MetaObjective(theta64, single.learner, single.functions, support, query)


def _improvement(step: Tensor, gradient: Tensor, matvec: Matvec) -> float:
    """First-order improvement of a step per square root of KL, up to a factor: g^T s / sqrt(s^T H s)."""
    return (gradient.dot(step) / step.dot(matvec(step)).sqrt()).item()


def step(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure outer steps of cheetah-dir-paper with several curvatures, from the iterate in experiments/results/.

    `same` and `fresh` are improvements of the surrogate per square root of KL (which the length of a step changes only
    to second order), means over 5 batches of tasks and rollouts: `same` on the batch that the step was computed on,
    `fresh` on each of the other four. `fresh_error` is the standard error over steps, a lower bound, because steps
    share batches. `rejected` counts line searches that found no step; their gain is 0. `cost` is seconds divided by
    seconds of a meta-gradient.
    """
    config = preset_config("cheetah-dir-paper")
    config = with_options(config, {"tasks": 2, "episodes": 2, "horizon": 10}) if quick else config
    problem = built(config).problem
    theta = load(ITERATE).theta
    batches = [problem.collect(theta, 1000 + batch)[0] for batch in range(2 if quick else 5)]
    before = [batch.loss_and_divergence(theta)[0] for batch in batches]
    rows = []
    for kind, fraction, of_tasks, iterations in STEPS[::3] if quick else STEPS:
        changes = {
            "curvature": kind,
            "curvature_fraction": fraction,
            "curvature_tasks": of_tasks,
            "cg_iterations": iterations,
        }
        outer = with_options(config, changes).outer.build()
        same = []
        fresh = []
        cost = []
        rejected = 0
        for made_of, objective in enumerate(batches):
            gradient_seconds = seconds(lambda objective=objective: objective.loss_and_gradient(theta))
            start = time.perf_counter()
            moved, _, info = outer.step(theta, {}, objective)
            rejected += info["accepted"] == 0
            cost.append((time.perf_counter() - start) / gradient_seconds)
            gains = [_gain(batch, moved, loss) for batch, loss in zip(batches, before, strict=True)]
            same.append(gains.pop(made_of))
            fresh.append(statistics.mean(gains))
        means = {name: statistics.mean(values) for name, values in (("same", same), ("fresh", fresh))}
        error = {"fresh_error": statistics.stdev(fresh) / len(fresh) ** 0.5, "cost": statistics.median(cost)}
        error["rejected"] = rejected
        rows.append(changes | means | error)
    show(console, "outer steps: improvement per square root of KL", rows)
    return rows


def _gain(objective: MetaObjective, theta: Params, loss_before: float) -> float:
    """Improvement over the square root of the divergence, on an objective's data."""
    loss, divergence = objective.loss_and_divergence(theta)
    return (loss_before - loss) / divergence**0.5 if divergence > 0 else 0.0
