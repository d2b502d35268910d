"""What is measured of episodes: sums that ranks can add, and on whose random numbers an evaluation rolls out."""

import numpy as np
import pytest
import torch
from conftest import gaussian_mlp, sgd
from torch import Tensor

from metarl import envs
from metarl.engine.params import stack
from metarl.randomness import Purpose
from metarl.rl.baselines.zero import zero
from metarl.rl.episode_metrics import scores_of, totals_of_episodes, warn_of_equal_rewards
from metarl.rl.episodes import BREAKS, Episodes
from metarl.rl.losses import policy_gradient
from metarl.rl.problem import MetaRL, RolloutSettings
from metarl.rl.sampler import rollout

SETTINGS = RolloutSettings(
    tasks=2, episodes=3, horizon=4, discount=0.99, gae_lambda=1.0, evaluation_episodes=3, evaluation_counting="episodes"
)


def episodes_of(returns: Tensor, achieved: Tensor) -> Episodes:
    """Episodes of a timestep with these returns and achievements, both [M, E]; none broke."""
    shape = (len(returns), 1, returns.shape[1])
    return Episodes(
        observations=torch.zeros(*shape, 2),
        actions=torch.zeros(*shape, 2),
        log_probs=torch.zeros(shape),
        rewards=returns[:, None],
        mask=torch.ones(shape),
        achieved=achieved,
        success=torch.full_like(returns, torch.nan),
        reward_terms={},
        breaks={reason: torch.zeros_like(returns) for reason in BREAKS},
    )


def test_sums_over_episodes_are_taken_in_float64() -> None:
    """In float32, 2^24 and 1 are 2^24."""
    returns = torch.tensor([[2.0**24, 1.0, 1.0]])
    totals = totals_of_episodes([episodes_of(returns, returns)])
    assert {total.dtype for total, _ in totals.values()} == {torch.float64}
    assert totals["rollout/return_step0"][0].item() == 2.0**24 + 2


def test_the_error_is_the_mean_distance_to_what_was_wanted() -> None:
    achieved = torch.tensor([[1.0, 4.0], [0.0, 1.0]])
    scores = scores_of(episodes_of(torch.zeros(2, 2), achieved), np.array([2.0, -1.0]))
    np.testing.assert_array_equal(scores["error"], [1.5, 1.5])


@pytest.mark.parametrize(
    ("purpose", "rollouts"),
    [
        (Purpose.VALIDATION_TASKS, Purpose.VALIDATION_ROLLOUTS),
        (Purpose.EVALUATION_TASKS, Purpose.EVALUATION_ROLLOUTS),
    ],
)
def test_validation_and_test_have_random_numbers_of_their_own(purpose: Purpose, rollouts: Purpose) -> None:
    problem = MetaRL(
        lambda n: envs.TaskVectorEnv(envs.Navigation2D(), n, horizon=4),
        gaussian_mlp(2, 2, hidden_sizes=(4,)),
        sgd(0.1),
        inner_steps=1,
        inner_loss=policy_gradient,
        baseline=zero,
        settings=SETTINGS,
        seed=1,
    )
    theta, tasks = problem.initial_parameters(0), problem.sample_tasks(1, purpose, count=2)
    env = envs.TaskVectorEnv(envs.Navigation2D(), 6, horizon=4)
    _, episodes = next(problem.adaptation(env, theta, sgd(0.1), tasks, 5, purpose=purpose))
    again = rollout(env, problem.policy, stack(theta, 2), tasks, horizon=4, key=(5, rollouts, 0))
    assert torch.equal(episodes.actions, again.actions)


@pytest.mark.parametrize(
    ("rewards", "told"),
    [
        ([[-1e6, -1e6], [-1e6, -1e6]], r"all rewards of the first episodes are -1e\+06: torch.float32 has no smaller"),
        ([[1e9, 1e9 - 0.25], [1e9, 1e9]], r"are 1e\+09"),  # float32 has every 64th number there
        ([[1.0, 1.0], [1.0, 1.0]], None),  # as of a robot that has not fallen yet
        ([[1.0, 1.0], [1.0, 1.5]], None),
    ],
)
def test_rewards_that_are_all_the_same_are_told(rewards: list[list[float]], told: str | None) -> None:
    """What a baseline left of them was scaled to advantages of standard deviation 1, in silence."""
    episodes = episodes_of(torch.tensor(rewards), torch.zeros(2, 2))
    if told is None:
        warn_of_equal_rewards(episodes)
    else:
        with pytest.warns(UserWarning, match=told):
            warn_of_equal_rewards(episodes)
