import pytest
import torch
from conftest import TASKS, Regression, parameters, policy_objective, regression

from metarl.engine.inner import sgd
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.outer import adam, trpo
from metarl.engine.params import Params, ravel
from metarl.engine.trust_region import CURVATURES
from metarl.rl.losses import mean_kl
from metarl.rl.policies import gaussian_mlp


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


def test_trpo_full_step_uses_the_whole_trust_region_on_a_smooth_policy() -> None:
    """With a tiny delta the quadratic model is exact: the first length has KL = delta."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    optimiser = trpo(max_kl=1e-8, curvature="exact", cg_damping=0.1, cg_iterations=200)
    _, _, info = optimiser.step(theta, {}, objective)
    assert info["accepted"] == 1
    assert info["kl"] <= 1e-8


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
