import itertools

import numpy as np
import pytest
import torch
from conftest import sgd
from navigation_problem import BASELINE, SETTINGS, problem
from torch.func import grad, vmap

from metarl import envs
from metarl.engine.params import Params, add, stack
from metarl.problem import Film
from metarl.randomness import Purpose
from metarl.rl.advantages import policy_batch
from metarl.rl.sampler import rollout


def test_evaluation_scores_every_step_on_rollouts_of_that_step() -> None:
    maml = problem()
    theta = maml.initial_parameters(0)
    tasks = np.array([[0.5, 0.5], [-0.2, 0.1]])
    result = maml.evaluate(theta, sgd(0.1), 2, tasks, seed=1)
    assert {name: scores.shape for name, scores in result.scores.items()} == dict.fromkeys(
        ("average_return", "achieved", "success", "reward/distance", "adaptation_env_steps", "broken"), (3, 2)
    )
    np.testing.assert_array_equal(result.scores["adaptation_env_steps"][0], 0)
    assert (result.scores["adaptation_env_steps"][2] > result.scores["adaptation_env_steps"][1]).all()
    shorter = maml.evaluate(theta, sgd(0.1), 1, tasks, seed=1)
    np.testing.assert_array_equal(shorter.scores["average_return"], result.scores["average_return"][:2])
    assert result.traces["observations"].shape[:3] == (3, 2, 8)


def test_each_evaluation_step_has_its_own_size() -> None:
    """The published protocol halves the step size after the first step: the same by hand, step by step."""
    maml, sizes, tasks = problem(), (0.7, 0.05), np.array([[0.5, 0.5], [-0.2, 0.1]])
    theta = maml.initial_parameters(0)
    env = envs.TaskVectorEnv(envs.Navigation2D(), 2 * SETTINGS.evaluation_episodes, horizon=8)
    stacked, expected = stack(theta, 2), []
    for step, size in enumerate((*sizes, sizes[-1])):
        key = (1, Purpose.EVALUATION_ROLLOUTS, step)
        episodes = rollout(env, maml.policy, stacked, tasks, horizon=8, key=key)
        expected.append(episodes.returns.mean(1).numpy())
        batch = policy_batch(episodes, BASELINE, discount=0.99, gae_lambda=1.0)
        gradient = vmap(grad(maml.learner.inner_loss))(stacked, batch)
        stacked = add(stacked, gradient, -size)
    actual = maml.evaluate(theta, sgd(*sizes), 2, tasks, seed=1).scores["average_return"]
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_evaluation_counts_episodes_as_it_is_told() -> None:
    """Goals near the start end episodes early: complete ones take fewer timesteps, the authors' counting fills up."""
    spent = {}
    for counting in ("episodes", "timesteps"):
        settings = SETTINGS._replace(evaluation_counting=counting, evaluation_episodes=40)
        maml = problem(settings=settings, initial_std=0.2)
        result = maml.evaluate(maml.initial_parameters(0), sgd(0.1), 1, np.array([[0.02, 0.02]]), seed=1)
        spent[counting] = result.scores["adaptation_env_steps"][1, 0]
    assert spent["episodes"] < 40 * 8 <= spent["timesteps"]


def test_films_are_of_the_policies_that_the_evaluation_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Task by task and step by step: what adapts the filmed policy is what adapted the one in the tables."""
    filmed: list[tuple[Params, np.ndarray]] = []

    def film(env: object, policy: object, params: Params, task: np.ndarray, **options: object) -> Film:
        filmed.append((params, task))
        return Film("", np.zeros((1, 1, 1, 3), np.uint8), [""])

    monkeypatch.setattr("metarl.rl.problem.film", film)
    maml, tasks = problem(), np.array([[0.5, 0.5], [-0.2, 0.1], [0.1, -0.4]])
    maml._make_env = lambda n, **options: envs.TaskVectorEnv(envs.Navigation2D(), n, horizon=8)
    theta = maml.initial_parameters(0)
    env = maml._make_env(3 * SETTINGS.evaluation_episodes)
    scored = list(itertools.islice(maml.adaptation(env, theta, sgd(0.7), tasks, seed=4), 3))
    assert len(maml.pictures(theta, sgd(0.7), 2, tasks, 1, seed=4)) == 3
    for (params, task), (stacked, _) in zip(filmed, scored, strict=True):
        np.testing.assert_array_equal(task, tasks[1])
        for name, leaf in stacked.items():
            torch.testing.assert_close(params[name][0], leaf[1], rtol=1e-4, atol=1e-5)
    others = [params["body.0.weight"][0] for params, _ in filmed]
    filmed.clear()
    maml.pictures(theta, sgd(0.7), 1, tasks, 1, seed=4, purpose=Purpose.VALIDATION_TASKS)
    _, (validation, _) = itertools.islice(
        maml.adaptation(env, theta, sgd(0.7), tasks, seed=4, purpose=Purpose.VALIDATION_TASKS), 2
    )
    torch.testing.assert_close(filmed[1][0]["body.0.weight"][0], validation["body.0.weight"][1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(others[1], validation["body.0.weight"][1], atol=1e-3)
    other = itertools.islice(maml.adaptation(env, theta, sgd(0.7), tasks, seed=5), 3)
    assert not torch.allclose(others[2], list(other)[2][0]["body.0.weight"][1], atol=1e-3)


def test_zero_steps_of_a_still_policy_score_the_distance_to_the_goal() -> None:
    """A policy that does not move: the return is - horizon x distance^2, known in closed form."""
    maml = problem(initial_std=1e-6)
    theta = {name: torch.zeros_like(leaf) for name, leaf in maml.initial_parameters(0).items()}
    theta["log_std"] = torch.full((2,), -13.0)
    tasks = np.array([[0.3, 0.4]])
    result = maml.evaluate(theta, sgd(0.1), 0, tasks, seed=1)
    assert result.scores["average_return"][0, 0] == pytest.approx(-8 * 0.25, rel=1e-4)
    assert result.scores["achieved"][0, 0] == pytest.approx(0.5, rel=1e-4)
