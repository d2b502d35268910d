"""Gymnasium's auto-reset modes of our vector environments, against Gymnasium's own around single environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import metarl
from metarl.envs import TaskVectorEnv

NAME, N, HORIZON = "metarl/Navigation2D-v0", 3, 4


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_it_resets_as_gymnasium_does(mode: AutoresetMode) -> None:
    ours = gymnasium.make_vec(NAME, num_envs=N, horizon=HORIZON, autoreset_mode=mode.value)
    assert ours.metadata["autoreset_mode"] is mode
    theirs = SyncVectorEnv([lambda: gymnasium.make(NAME, horizon=HORIZON)] * N, autoreset_mode=mode)
    tasks = np.random.default_rng(0).uniform(-0.5, 0.5, (N, 2))
    # One environment reaches its goal before the horizon; the others are cut.
    tasks[0] = (0.05, 0.0)
    ours.reset(seed=3, options={"tasks": tasks})
    theirs.reset(seed=3)
    for i, env in enumerate(theirs.envs):
        env.reset(seed=3 + i, options={"task": tasks[i]})
    ends = 0
    for t in range(3 * HORIZON):
        actions = np.random.default_rng(t).uniform(-1, 1, (N, 2))
        actions[0] = (1.0, 0.0)
        one = ours.step(actions)
        other = theirs.step(actions)
        for value, right in zip(one[:4], other[:4], strict=True):
            np.testing.assert_array_equal(value, right)
        ends += int((one[2] | one[3]).sum())
        final: Any = [info.get("final_obs", np.full(N, None)) for info in (one[4], other[4])]
        for value, right in zip(*final, strict=True):
            assert (value is None) == (right is None)
            if value is not None:
                np.testing.assert_array_equal(value, right)
    assert ends >= 2 * N


def test_by_default_there_is_none_and_meta_training_wants_none() -> None:
    assert isinstance(gymnasium.make_vec(NAME, num_envs=2), TaskVectorEnv)
    assert metarl.check_environment(gymnasium.make_vec(NAME, num_envs=2)) == []
    with pytest.raises(ValueError, match="resets by itself"):
        metarl.check_environment(gymnasium.make_vec(NAME, num_envs=2, autoreset_mode="NextStep"))
    with pytest.raises(ValueError, match="autoreset_mode must be one of NextStep, SameStep, Disabled; got "):
        gymnasium.make_vec(NAME, num_envs=2, autoreset_mode="sometimes")


def test_a_reset_of_ones_own_takes_the_place_of_the_next_step() -> None:
    env = gymnasium.make_vec(NAME, num_envs=2, horizon=1, autoreset_mode="NextStep")
    env.reset(seed=1)
    still = np.zeros((2, 2))
    assert env.step(still)[3].tolist() == [True, True]
    env.reset(options={"reset_mask": np.array([True, False])})
    *_, truncated, _ = env.step(still)
    assert truncated.tolist() == [True, False]  # the second one was reset by this step
