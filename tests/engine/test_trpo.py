import dataclasses
import math
from typing import Any, cast

import pytest
import torch
from conftest import gaussian_mlp, parameters, policy_objective
from oracles import dense_hessian
from outer_objectives import THREE_ZEROS, Recorder

from metarl.engine.curvature import CURVATURES, EPSILON, FINITE_DIFFERENCES
from metarl.engine.model import Model
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import OuterOptimizer
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params, ravel
from metarl.engine.solvers import Matvec
from metarl.rl.losses import mean_kl


def trpo(**options: Any) -> OuterOptimizer:
    """With all of the data and a tight solution where nothing else is said."""
    return TRPO(**{"curvature_fraction": 1.0, "curvature_tasks": 1.0, "cg_iterations": 10, **options}).build()


@pytest.mark.parametrize("curvature", sorted(CURVATURES))
def test_trpo_improves_within_the_trust_region(policy: Model, curvature: str) -> None:
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    old_loss, _ = objective.loss_and_divergence(theta)
    new, _, info = trpo(max_kl=0.01, curvature=curvature).step(theta, {}, objective)
    loss, divergence = objective.loss_and_divergence(new)
    assert info["accepted"] == 1
    assert loss < old_loss
    assert 0 < divergence <= 0.01
    assert info["kl"] == pytest.approx(divergence, rel=1e-9)
    assert info["improvement"] == pytest.approx(old_loss - loss, rel=1e-6)


def test_trpo_takes_the_natural_gradient_step_of_the_trust_regions_length() -> None:
    """new - theta = - sqrt(2 delta / s^T (H + damping I) s) s with s = (H + damping I)^-1 g, from the dense Hessian."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    max_kl, damping = 1e-6, 0.1
    optimiser = trpo(max_kl=max_kl, curvature="exact", cg_damping=damping, cg_iterations=200, cg_tolerance=1e-24)
    new, _, info = optimiser.step(theta, {}, objective)
    g = ravel(objective.loss_and_gradient(theta)[1])
    damped = dense_hessian(objective, theta) + damping * torch.eye(len(g), dtype=torch.float64)
    s = torch.linalg.solve(damped, g)
    expected = -((2 * max_kl / (s.dot(g) + 1e-8)) ** 0.5) * s
    assert (info["accepted"], info["backtracks"]) == (1, 0)
    torch.testing.assert_close(ravel(new) - ravel(theta), expected, rtol=1e-6, atol=1e-10)
    assert 0 < info["kl"] <= max_kl


@pytest.mark.parametrize(
    ("kind", "options"), [("forward", {"epsilon": 0.5}), ("symmetric", {"epsilon": 0.5}), ("gauss_newton", {})]
)
def test_trpo_passes_its_curvature_options_on(kind: str, options: dict) -> None:
    recorder = Recorder()
    epsilon = options.get("epsilon")
    optimiser = trpo(curvature=kind, curvature_fraction=0.3, curvature_tasks=0.7, finite_difference_epsilon=epsilon)
    optimiser.step(THREE_ZEROS, {}, cast(MetaObjective, recorder))
    assert recorder.asked == (kind, 0.3, 0.7, options)


@pytest.mark.parametrize("factor", [-1.0, 0.0, float("nan")])
@pytest.mark.parametrize("kind", ["symmetric", "gauss_newton"])
def test_trpo_refuses_where_there_is_no_positive_curvature(factor: float, kind: str) -> None:
    optimiser = trpo(max_kl=0.01, cg_damping=0.0, curvature=kind)
    new, _, info = optimiser.step(THREE_ZEROS, {}, cast(MetaObjective, Recorder(factor)))
    assert torch.equal(new["x"], THREE_ZEROS["x"])
    assert (info["accepted"], info["cg_iterations"]) == (0, 0)
    assert info["nonfinite"] == float(math.isnan(factor))


class Spoiled(Recorder):
    """Products that are not finite from the second on."""

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        return 1.0, {"x": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)}

    def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
        scales = iter([torch.tensor([1.0, 2.0, 3.0]), torch.tensor(math.nan)])
        return lambda v: next(scales) * v


def test_trpo_refuses_where_a_later_product_is_not_finite() -> None:
    new, _, info = trpo(max_kl=0.01).step(THREE_ZEROS, {}, cast(MetaObjective, Spoiled()))
    assert torch.equal(new["x"], THREE_ZEROS["x"])
    assert (info["accepted"], info["nonfinite"], info["cg_iterations"]) == (0, 1, 1)


@pytest.mark.parametrize(("kind", "expected"), [("gauss_newton", 2), ("symmetric", 3)])
def test_only_finite_differences_spend_a_product_on_the_steps_length(kind: str, expected: int) -> None:
    """They are not linear, so that conjugate gradient's own s^T H s is not theirs."""
    calls = []

    class Counting(Spoiled):
        def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
            return lambda v: (calls.append(0), torch.tensor([1.0, 2.0, 3.0]) * v)[1]

    trpo(max_kl=0.01, cg_iterations=2, curvature=kind).step(THREE_ZEROS, {}, cast(MetaObjective, Counting()))
    assert len(calls) == expected


def test_unknown_curvature_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(ValueError, match=r"curvature must be .*; got .?newton"):
        TRPO(curvature=cast(Any, "newton"))


def test_trpo_keeps_the_old_parameters_when_nothing_qualifies() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    functions = objective.functions._replace(divergence=lambda old, new, batch: mean_kl(old, new, batch) + 1.0)
    stuck = MetaObjective(theta, objective.learner, functions, objective.support, objective.query)
    new, _, info = trpo(max_kl=0.01).step(theta, {}, stuck)
    assert torch.equal(ravel(new), ravel(theta))
    assert (info["accepted"], info["backtracks"], info["improvement"], info["kl"]) == (0, 15, 0, 0)


@pytest.mark.parametrize(("losses", "broken"), [([2.0, 2.0], 0), ([math.nan, 2.0], 0), ([math.nan, math.nan], 1)])
def test_a_line_search_is_broken_where_every_length_is(losses: list[float], broken: int) -> None:
    class Tried(Recorder):
        def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
            return losses.pop(), 0.0

    _, _, info = trpo(max_backtracks=2).step(THREE_ZEROS, {}, cast(MetaObjective, Tried()))
    assert (info["accepted"], info["nonfinite"], info.get("nonfinite_loss", 0)) == (0, broken, broken)


CHANGED: dict[str, Any] = {
    "max_kl": 0.02,
    "curvature": "symmetric",
    "curvature_fraction": 0.5,
    "curvature_tasks": 0.4,
    "cg_iterations": 1,
    "cg_damping": 0.1,
    "cg_tolerance": 1.0,
    "backtrack_ratio": 0.5,
    "max_backtracks": 1,
    "finite_difference_epsilon": 0.1,
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TRPO)])
def test_every_option_of_trpo_changes_the_step(name: str) -> None:
    """From a common start whose first step is too long, so that the line search has something to do."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8, 8), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    common = {"max_kl": 1.0, "curvature_fraction": 1.0, "curvature_tasks": 1.0, "cg_iterations": 3}
    if name == "finite_difference_epsilon":
        common["curvature"] = "forward"
    before, after = (
        TRPO(**{**common, **changes}).build().step(theta, {}, objective) for changes in ({}, {name: CHANGED[name]})
    )
    assert before[2]["backtracks"] > 0
    assert not torch.equal(ravel(before[0]), ravel(after[0]))


def test_the_default_epsilon() -> None:
    recorder = Recorder()
    trpo(curvature="forward").step(THREE_ZEROS, {}, cast(MetaObjective, recorder))
    assert recorder.asked[-1] == {"epsilon": EPSILON}


@pytest.mark.parametrize("curvature", [name for name, kind in CURVATURES.items() if kind not in FINITE_DIFFERENCES])
def test_an_epsilon_that_nothing_takes_is_refused(curvature: Any) -> None:
    with pytest.raises(ValueError, match=f"finite_difference_epsilon means nothing for curvature {curvature}"):
        TRPO(curvature=curvature, finite_difference_epsilon=0.1)


@pytest.mark.parametrize("kind", ["gauss_newton", "symmetric"])
def test_damping_counts_in_the_steps_length(kind: str) -> None:
    """H = 0 and damping d: s = g / d, s^T (H + d I) s = g^T g / d, a step of sqrt(2 max_kl d) / |g| times g / d."""
    optimiser = trpo(max_kl=0.5, cg_damping=0.25, curvature=kind)
    new, _, info = optimiser.step(THREE_ZEROS, {}, cast(MetaObjective, Recorder(factor=0.0)))
    assert info["accepted"] == 1
    expected = -math.sqrt(2 * 0.5 * 0.25 / 3) / 0.25
    torch.testing.assert_close(new["x"], torch.full((3,), expected, dtype=torch.float64), rtol=1e-6, atol=0)
