"""Episodes that break the simulator: nothing learns from them, nothing is scored by them, and somebody is told."""

import functools
import math

import numpy as np
import pytest
import torch
from conftest import gaussian_mlp, sgd
from gymnasium.vector import VectorEnv
from small_environments import Fragile, Target

from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.losses import policy_gradient
from metarl.rl.problem import MetaRL, RolloutSettings

TASKS, EPISODES, HORIZON = 4, 20, 5


def problem(env: type[VectorEnv] = Fragile, *, max_broken: float = 0.9, counting: str = "episodes") -> MetaRL:
    return MetaRL(
        functools.partial(env, horizon=HORIZON),
        gaussian_mlp(2, 1, hidden_sizes=(8,), activation="tanh", initial_std=0.5),
        sgd(0.1),
        inner_steps=1,
        inner_loss=policy_gradient,
        baseline=LinearFeatures().build(),
        settings=RolloutSettings(
            tasks=TASKS,
            episodes=EPISODES,
            horizon=HORIZON,
            discount=0.99,
            gae_lambda=1.0,
            evaluation_episodes=30,
            evaluation_counting=counting,
            max_broken=max_broken,
        ),
        seed=1,
    )


def bold(maml: MetaRL, action: float) -> Params:
    """Parameters with this mean action everywhere."""
    theta = maml.initial_parameters(0)
    return theta | {"head.weight": torch.zeros(1, 8), "head.bias": torch.tensor([action])}


def test_to_break_the_simulator_does_not_pay() -> None:
    """Every timestep costs 1, and a large action ends the episode: that must not be learned. It was, before."""
    maml, optimiser = problem(), TRPO(max_kl=0.05, curvature_fraction=1.0, curvature_tasks=1.0).build()
    theta = bold(maml, 0.2)
    shares, returns = [], []
    for iteration in range(15):
        objective, metrics = maml.collect(theta, iteration)
        theta, _, _ = optimiser.step(theta, {}, objective)
        shares.append(metrics["rollout/broken"])
        returns.append(metrics["rollout/return_step1"])
    assert 0.1 < shares[0] < 0.4
    assert np.mean(shares[-3:]) < shares[0] + 0.1
    assert returns == [-HORIZON] * 15  # what broke does not count


def test_shares_and_reasons_are_metrics() -> None:
    maml = problem()
    objective, metrics = maml.collect(bold(maml, 0.2), 0)
    masks = (*objective.support, objective.query)
    counted = sum((batch.mask.sum(1) > 0).sum().item() for batch in masks)
    assert metrics["rollout/broken"] == pytest.approx(1 - counted / (2 * TASKS * EPISODES))
    assert metrics["rollout/broken_simulation"] == metrics["rollout/broken"]
    assert not {"rollout/broken_observation", "rollout/broken_reward", "rollout/broken_action"} & set(metrics)
    assert metrics["env_steps"] > sum(batch.mask.sum().item() for batch in masks)  # what was spent on them, too
    _, whole = problem(Target).collect(bold(maml, 0.2), 0)
    assert whole["rollout/broken"] == 0
    assert "rollout/broken_simulation" not in whole


@pytest.mark.parametrize("counting", ["episodes", "timesteps"])
def test_evaluation_scores_whole_episodes_and_tells_the_share_of_the_others(counting: str) -> None:
    maml = problem(counting=counting)
    result = maml.evaluate(bold(maml, 0.2), sgd(0.1), 1, np.array([[0.5], [-0.5]]), seed=1)
    np.testing.assert_array_equal(result.scores["average_return"], np.full((2, 2), -HORIZON))
    assert ((result.scores["broken"] > 0.1) & (result.scores["broken"] < 0.6)).all()
    hopeless = maml.evaluate(bold(maml, 99.0), sgd(0.1), 0, np.array([[0.5]]), seed=1)
    assert hopeless.scores["broken"] == 1
    assert math.isnan(hopeless.scores["average_return"][0, 0])


def test_a_run_in_which_most_breaks_stops_with_a_diagnosis() -> None:
    maml = problem(max_broken=0.5)
    with pytest.raises(
        ValueError,
        match=r"stopped in iteration 7: 100% of the episodes broke \(100% because the simulation diverged\), more than "
        r"max_broken, 50%",
    ):
        maml.collect(bold(maml, 99.0), 7)
    patient = problem(max_broken=1.0)
    objective, metrics = patient.collect(bold(patient, 99.0), 7)
    assert metrics["rollout/broken"] == 1
    assert patient.score(metrics) is None
    loss, gradient = objective.loss_and_gradient(bold(patient, 99.0))
    assert loss == 0
    assert all((leaf == 0).all() for leaf in gradient.values())


def test_parameters_that_diverge_are_not_the_environments_fault() -> None:
    """They refuse the outer step, as everything does that is not finite; the environment is not blamed."""
    maml = problem(max_broken=0.1)
    theta = bold(maml, math.nan)
    objective, metrics = maml.collect(theta, 0)
    assert metrics["rollout/broken_action"] == metrics["rollout/broken"] == 1
    assert not math.isfinite(objective.loss_and_gradient(theta)[0])
    assert maml.score(metrics | {"rollout/return_step1": 0.0}) is None
