from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from metarl.envs import Navigation2D, TaskEnv, TaskVectorEnv, make_family


def test_dynamics_and_both_rewards_equal_the_papers() -> None:
    goal = np.array([0.3, -0.4])
    rewards: tuple[tuple[Any, Callable[[Any], float]], ...] = (
        ("squared", lambda d: -(d**2)),
        ("distance", lambda d: -d),
    )
    for reward, expected in rewards:
        env = TaskEnv(Navigation2D(reward=reward))
        position, _ = env.reset(options={"task": goal})
        np.testing.assert_array_equal(position, 0)
        for action in ([0.5, -3.0], [-0.2, 0.1]):
            position = position + np.clip(0.1 * np.array(action), -0.1, 0.1)
            observation, value, terminated, truncated, info = env.step(action)
            np.testing.assert_allclose(observation, position, rtol=1e-15)
            distance = np.linalg.norm(position - goal)
            assert value == pytest.approx(expected(distance))
            assert info["achieved"] == pytest.approx(distance)
            assert (terminated, truncated) == (False, False)


@pytest.mark.parametrize(
    ("offset", "ends"), [((0.0099, -0.0099), True), ((0.0101, 0.0), False), ((0.0, 0.0101), False)]
)
def test_terminates_within_a_centimetre_on_both_axes(offset: tuple[float, float], ends: bool) -> None:
    env = TaskEnv(Navigation2D())
    env.reset(options={"task": [0.05 + offset[0], 0.05 + offset[1]]})
    _, _, terminated, truncated, info = env.step([0.5, 0.5])
    assert (terminated, truncated) == (ends, False)
    assert info["success"] == ends


def test_reaching_the_goal_on_the_last_timestep_is_termination_not_truncation() -> None:
    env = TaskVectorEnv(Navigation2D(), 2, horizon=1)
    env.reset(options={"tasks": [[0.1, 0.1], [0.4, 0.4]]})
    _, _, terminated, truncated, _ = env.step(np.ones((2, 2)))
    assert terminated.tolist() == [True, False]
    assert truncated.tolist() == [False, True]


def test_unknown_reward_is_refused() -> None:
    with pytest.raises(ValueError, match="reward must be 'squared' or 'distance'; got 'sparse'"):
        make_family("metarl/Navigation2D-v0", reward="sparse")
