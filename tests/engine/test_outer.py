import math
from typing import Any, cast

import pytest
import torch
from conftest import TASKS, gaussian_mlp, parameters, policy_objective
from oracles import task
from outer_objectives import THREE_ZEROS, regression_objective

from metarl.engine.maml import AdaptedTask
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import OUTERS, Info, OuterOptimizer, State, refused
from metarl.engine.outer.adam import Adam
from metarl.engine.outer.ppo import PPO
from metarl.engine.outer.promp import ProMP
from metarl.engine.outer.reptile import Reptile
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params, add, ravel


@pytest.mark.parametrize("name", OUTERS.names)
def test_a_non_finite_gradient_never_reaches_theta(name: str) -> None:
    optimiser, policy = OUTERS.find(name)().build(), gaussian_mlp(2, 2, hidden_sizes=(8,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    broken = objective.query._replace(advantages=objective.query.advantages * float("nan"))
    spoiled = MetaObjective(theta, objective.learner, objective.functions, objective.support, broken)
    new, state, info = optimiser.step(theta, optimiser.init(theta), spoiled)
    assert set(info) >= {metric.name.removeprefix("outer/") for metric in optimiser.measures if "{" not in metric.name}
    assert torch.equal(ravel(new), ravel(theta))
    assert info["nonfinite"] == 1
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize("name", ["adam", "trpo"])  # which ask first for the loss and its gradient
@pytest.mark.parametrize(
    ("loss", "entry", "reasons"),
    [
        (1.0, math.inf, {"nonfinite_gradient"}),
        (math.nan, 1.0, {"nonfinite_loss"}),
        (math.nan, math.nan, {"nonfinite_loss", "nonfinite_gradient"}),
    ],
)
def test_what_is_not_finite_is_named(name: str, loss: float, entry: float, reasons: set[str]) -> None:
    class Broken:
        def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
            return loss, {"x": torch.tensor([1.0, entry, 1.0], dtype=torch.float64)}

    optimiser = OUTERS.find(name)().build()
    new, _, info = optimiser.step(THREE_ZEROS, optimiser.init(THREE_ZEROS), cast(MetaObjective, Broken()))
    assert torch.equal(new["x"], THREE_ZEROS["x"])
    assert {key for key in info if key.startswith("nonfinite_")} == reasons
    assert info["nonfinite"] == 1


def test_the_registered_optimisers() -> None:
    assert set(OUTERS.names) >= {"adam", "trpo", "ppo", "promp", "reptile"}


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        (TRPO, {"max_kl": 0.0}, "max_kl must be a positive number; got 0.0"),
        (TRPO, {"curvature_fraction": 1.5}, r"curvature_fraction must be in \(0, 1\]; got 1.5"),
        (TRPO, {"curvature_tasks": 0.0}, r"curvature_tasks must be in \(0, 1\]; got 0.0"),
        (TRPO, {"cg_iterations": 0}, "cg_iterations must be at least 1; got 0"),
        (TRPO, {"cg_damping": -1.0}, "cg_damping must be a finite number, at least 0; got -1.0"),
        (TRPO, {"backtrack_ratio": 1.0}, "backtrack_ratio must be below 1; got 1.0"),
        (TRPO, {"max_backtracks": 0}, "max_backtracks must be at least 1; got 0"),
        (TRPO, {"curvature": "forward", "finite_difference_epsilon": 0.0}, "finite_difference_epsilon must be a pos"),
        (Adam, {"learning_rate": float("nan")}, "learning_rate must be a positive number; got nan"),
        (Adam, {"adam_beta1": 1.0}, "adam_beta1 must be below 1; got 1.0"),
        (PPO, {"epochs": 0}, "epochs must be at least 1; got 0"),
        (PPO, {"clip": 1.0}, "clip must be below 1; got 1.0"),
        (ProMP, {"kl_penalty": -1.0}, "kl_penalty must be a finite number, at least 0; got -1.0"),
        (ProMP, {"kl_target": 0.0}, "kl_target must be a positive number; got 0.0"),
        (Reptile, {"meta_step_size": 1.5}, r"meta_step_size must be in \(0, 1\]; got 1.5"),
        (Adam, {"gradient_clip": 0.0}, "gradient_clip must be a positive number; got 0.0"),
    ],
)
def test_impossible_options_are_refused(part: Any, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        part(**options)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_reptile_moves_towards_the_mean_of_the_adapted(share: float) -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    objective = regression_objective(model, theta)
    new, _, info = Reptile(meta_step_size=share).build().step(theta, {}, objective)
    adapted = [objective.learner.adapt(theta, [task(batch, i) for batch in objective.support]) for i in range(TASKS)]
    for name, leaf in theta.items():
        mean = torch.stack([one[name] for one in adapted]).mean(0)
        torch.testing.assert_close(new[name], leaf + share * (mean - leaf), rtol=1e-12, atol=1e-14)
    assert info["loss"] == pytest.approx(objective.loss_and_gradient(theta)[0], rel=1e-12)


def test_an_optimiser_of_users_may_take_several_steps_under_its_own_loss(policy: Model) -> None:
    """Plain gradient steps on a loss of one's own: one function, which needs nothing else of the engine."""

    def timid(adapted: AdaptedTask) -> torch.Tensor:
        log_probs = adapted.outputs.log_prob(adapted.query.actions)
        distance = (log_probs - adapted.query.log_probs).square().mean()
        return 0.1 * distance - (log_probs * adapted.query.advantages).mean()

    def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        objective, losses = objective.with_outer_loss(timid), []
        for _ in range(6):
            loss, gradient = objective.loss_and_gradient(theta)
            theta = add(theta, gradient, -0.05)
            losses.append(loss)
        return theta, state, {"first": losses[0], "last": losses[-1]}

    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    _, _, info = OuterOptimizer(lambda theta: {}, step).step(theta, {}, objective)
    assert info["last"] < info["first"]


def test_a_step_that_is_not_finite_is_refused_whatever_else_it_says() -> None:
    """An optimiser accepts its step, and the loop refuses its parameters."""
    assert refused({"nonfinite": 1.0, "accepted": 1.0})
    assert refused({"nonfinite": 0.0, "accepted": 0.0})
    assert not refused({"nonfinite": 0.0, "accepted": 1.0})
    assert not refused({"nonfinite": 0.0})
