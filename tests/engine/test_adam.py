import dataclasses
import math
from typing import Any, cast

import pytest
import torch
from conftest import gaussian_mlp, parameters, policy_objective
from outer_objectives import THREE_ZEROS, Recorder, regression_objective

from metarl.engine.model import mlp
from metarl.engine.objective import MetaObjective
from metarl.engine.outer.adam import Adam
from metarl.engine.outer.ppo import PPO
from metarl.engine.outer.promp import ProMP
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params, ravel
from metarl.engine.schedules import Schedule, Share
from metarl.engine.schedules.cosine import Cosine


@pytest.mark.parametrize("scheduled", [False, True])
def test_adam_and_the_cosine_schedule_equal_torchs(scheduled: bool) -> None:
    """Eight outer steps in float64, of which the schedule is over after 5; from there the learning rate stays."""
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    schedule: dict[str, Any] = {"schedule": Cosine(schedule_steps=5, final_share=0.2)} if scheduled else {}
    optimiser = Adam(learning_rate=0.1, **schedule).build()
    state = optimiser.init(theta)
    reference = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    torch_adam = torch.optim.Adam(reference.values(), lr=0.1)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(torch_adam, T_max=5, eta_min=0.02)
    for taken in range(8):
        _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
        for name, leaf in reference.items():
            leaf.grad = gradient[name].clone()
        torch_adam.step()
        # Torch's would rise again.
        if scheduled and taken < 5:
            torchs.step()
        theta, state, info = optimiser.step(theta, state, regression_objective(model, theta))
        assert info["nonfinite"] == 0
        for name, leaf in reference.items():
            torch.testing.assert_close(theta[name], leaf.detach(), rtol=1e-9, atol=1e-12)


def test_the_schedule_counts_adams_steps_that_were_taken() -> None:
    """Those of every epoch of PPO, not those that were refused; and it goes on from a state that was stored."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(4,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    asked = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Asked(Schedule):
        def build(self) -> Share:
            return lambda taken: (asked.append(taken), 0.5)[1]

    optimiser = PPO(epochs=3, schedule=Asked()).build()
    state = optimiser.init(theta)
    moved, state, _ = optimiser.step(theta, state, objective)
    broken = objective.query._replace(advantages=objective.query.advantages * float("nan"))
    spoiled = MetaObjective(theta, objective.learner, objective.functions, objective.support, broken)
    _, same, info = optimiser.step(moved, state, spoiled)
    assert info["nonfinite"] == 1
    optimiser.step(moved, same, objective)
    assert asked == [0, 1, 2, 3, 4, 5]
    half = PPO(epochs=3, learning_rate=5e-4).build()
    assert torch.equal(ravel(half.step(theta, half.init(theta), objective)[0]), ravel(moved))


@pytest.mark.parametrize("share", [-0.1, math.nan, math.inf])
def test_a_schedule_of_ones_own_must_not_turn_adam_round(share: float) -> None:
    class Own(Schedule):
        def build(self) -> Share:
            return lambda taken: share if taken else 1.0

    adam = Adam(schedule=Own()).build()
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    objective = regression_objective(model, theta)
    theta, state, _ = adam.step(theta, adam.init(theta), objective)
    with pytest.raises(ValueError, match=rf"a schedule must give shares .* got {share} after 1 steps"):
        adam.step(theta, state, objective)


@pytest.mark.parametrize("kind", [Adam, PPO, ProMP])
def test_a_cosine_without_its_length_is_refused(kind: type[Adam]) -> None:
    with pytest.raises(ValueError, match=r"schedule cosine needs schedule_steps, .*: give --schedule-steps, usually"):
        kind(schedule=Cosine()).build()


def test_adam_refuses_what_overflows() -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = {name: leaf.float() for name, leaf in parameters(model).items()}
    optimiser = Adam(learning_rate=1e308).build()
    state = optimiser.init(theta)
    same, unchanged, info = optimiser.step(theta, state, regression_objective(model, theta))
    assert same is theta and unchanged is state
    assert (info["nonfinite"], info["nonfinite_parameters"]) == (1, 1)


def test_adams_options_are_torchs() -> None:
    """Each of them away from its default, with a gradient whose entries the limit cuts and does not cut."""
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
    limit = ravel(gradient).abs().median().item()
    part = Adam(learning_rate=0.02, adam_beta1=0.5, adam_beta2=0.7, adam_epsilon=0.05, gradient_clip=limit)
    optimiser = part.build()
    state = optimiser.init(theta)
    reference = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    torch_adam = torch.optim.Adam(reference.values(), lr=0.02, betas=(0.5, 0.7), eps=0.05)
    for _ in range(4):
        _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
        for name, leaf in reference.items():
            leaf.grad = gradient[name].clone()
        torch.nn.utils.clip_grad_value_(reference.values(), limit)
        torch_adam.step()
        theta, state, info = optimiser.step(theta, state, regression_objective(model, theta))
        assert info["grad_norm"] == pytest.approx(ravel(gradient).norm().item())  # before it is cut
    for name, leaf in reference.items():
        torch.testing.assert_close(theta[name], leaf.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_gradient_is_cut_on_both_sides(sign: float) -> None:
    class Steep(Recorder):
        def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
            return 1.0, {"x": sign * torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)}

    optimiser = Adam(gradient_clip=2.0, adam_beta1=0.0).build()
    _, state, _ = optimiser.step(THREE_ZEROS, optimiser.init(THREE_ZEROS), cast(MetaObjective, Steep()))
    assert state["mean"].tolist() == [sign * 0.5, sign * 2.0, sign * 2.0]


@pytest.mark.parametrize(
    ("outer", "iterations", "words"),
    [
        (
            Adam(schedule=Cosine(schedule_steps=4)),
            10,
            "after 4 of 10 steps of Adam, in iteration 4 of 10: --schedule-steps 10",
        ),
        (Adam(schedule=Cosine(schedule_steps=10)), 10, ""),
        (
            PPO(schedule=Cosine(schedule_steps=10), epochs=2, minibatches=3),
            10,
            "10 of 60 steps of Adam, in iteration 1 of",
        ),
        (ProMP(schedule=Cosine(schedule_steps=10), epochs=2), 5, ""),
        (PPO(schedule=Cosine(schedule_steps=10), target_kl=0.1), 10, ""),
        (Adam(), 10, ""),
        (TRPO(), 10, ""),
    ],
)
def test_a_schedule_that_is_over_before_the_training_is_told(outer: Any, iterations: int, words: str) -> None:
    remarks = outer.remarks(iterations)
    assert len(remarks) == bool(words)
    assert all(words in remark for remark in remarks)
