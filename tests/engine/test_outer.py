import math
from typing import cast

import pytest
import torch
from conftest import TASKS, Regression, gaussian_mlp, parameters, policy_objective, regression
from metarl.engine.inner import sgd
from metarl.engine.trust_region import CURVATURES, Matvec
from oracles import dense_hessian

from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.outer import adam, trpo
from metarl.engine.params import Params, ravel
from metarl.rl.losses import mean_kl


def regression_objective(model: Model, theta: Params, scale: float = 1.0) -> MetaObjective:
    def loss(outputs: torch.Tensor, batch: Regression) -> torch.Tensor:
        return scale * ((outputs - batch.targets) ** 2).mean()

    functions = TaskFunctions(
        inner_loss=lambda params, batch: loss(model.apply(params, batch.inputs), batch),
        predict=lambda params, batch: model.apply(params, batch.inputs),
        outer_loss=loss,
    )
    return MetaObjective(theta, sgd([0.1]), functions, [regression(0)], regression(1), num_tasks=TASKS)


def test_adam_equals_torchs() -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    optimiser = adam(learning_rate=0.01)
    state = optimiser.init(theta)
    reference = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    torch_adam = torch.optim.Adam(reference.values(), lr=0.01)
    for _ in range(5):
        _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
        for name, leaf in reference.items():
            leaf.grad = gradient[name].clone()
        torch_adam.step()
        theta, state, info = optimiser.step(theta, state, regression_objective(model, theta))
        assert info["nonfinite"] == 0
    for name, leaf in reference.items():
        torch.testing.assert_close(theta[name], leaf.detach(), rtol=1e-9, atol=1e-12)


def test_adam_refuses_what_overflows() -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    optimiser = adam(learning_rate=1e309)
    state = optimiser.init(theta)
    same, unchanged, info = optimiser.step(theta, state, regression_objective(model, theta))
    assert same is theta and unchanged is state
    assert (info["nonfinite"], info["nonfinite_parameters"]) == (1, 1)


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


class Recorder:
    """Stands in for an objective: answers a quadratic, and remembers how its curvature was asked for."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor, self.asked = factor, ()

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        return 1.0, {"x": torch.ones_like(theta["x"])}

    def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
        self.asked = (kind, fraction, tasks, options)
        return lambda v: self.factor * v

    def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
        return 0.0, 0.0


THREE_ZEROS = {"x": torch.zeros(3, dtype=torch.float64)}


@pytest.mark.parametrize(("kind", "options"), [("forward", {"epsilon": 0.5}), ("gauss_newton", {})])
def test_trpo_passes_its_curvature_options_on(kind: str, options: dict) -> None:
    recorder = Recorder()
    optimiser = trpo(max_kl=0.01, curvature=kind, curvature_fraction=0.3, curvature_tasks=0.7, epsilon=0.5)
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
    with pytest.raises(ValueError, match="unknown curvature 'newton': choose one of symmetric"):
        trpo(max_kl=0.01, curvature="newton")


def test_trpo_keeps_the_old_parameters_when_nothing_qualifies() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    functions = objective.functions._replace(divergence=lambda old, new, batch: mean_kl(old, new, batch) + 1.0)
    stuck = MetaObjective(theta, objective.rule, functions, objective.support, objective.query, num_tasks=TASKS)
    new, _, info = trpo(max_kl=0.01).step(theta, {}, stuck)
    assert torch.equal(ravel(new), ravel(theta))
    assert (info["accepted"], info["backtracks"], info["improvement"], info["kl"]) == (0, 15, 0, 0)


@pytest.mark.parametrize("name", ["adam", "trpo"])
def test_a_non_finite_gradient_never_reaches_theta(name: str) -> None:
    optimiser = adam(learning_rate=0.1) if name == "adam" else trpo(max_kl=0.01)
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    new, state, info = optimiser.step(theta, optimiser.init(theta), regression_objective(model, theta, float("nan")))
    assert torch.equal(ravel(new), ravel(theta))
    assert info["nonfinite"] == 1
    assert all(torch.isfinite(value).all() for value in state.values())
