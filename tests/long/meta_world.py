"""Meta-World as it is installed: `pytest tests/long/meta_world.py`, where it is (docs/how-to/meta-world.md).

No other test needs it, so that this file is collected by its name alone.
"""

import functools
import importlib
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
import pytest

from metarl.envs import LoopVectorEnv, check_environment

ML1, ML10 = "metarl/ML1-v0", "metarl/ML10-v0"
SKILLS: list[str] = importlib.import_module("metaworld").ML1.ENV_NAMES


def made(name: str, **options: Any) -> gymnasium.Env:
    return gymnasium.make(name, **options)


def played(env: gymnasium.Env, task: np.ndarray, seed: int, timesteps: int = 30) -> np.ndarray:
    """Observations, rewards and successes of random actions, [timesteps, 41]."""
    rng = np.random.default_rng(seed)
    env.reset(options={"task": task})
    rows = []
    for _ in range(timesteps):
        observation, reward, terminated, _, info = env.step(rng.uniform(-1, 1, 4).astype(np.float32))
        assert env.observation_space.contains(observation)
        assert isinstance(info["success"], bool)
        assert not terminated
        rows.append([*observation, reward, info["success"]])
    return np.array(rows)


def test_there_are_fifty_skills() -> None:
    assert len(SKILLS) == 50


@pytest.mark.parametrize("skill", SKILLS)
def test_a_skill_plays_alike_after_other_episodes(skill: str) -> None:
    with closing(made(ML1, env_name=skill)) as env, closing(made(ML1, env_name=skill)) as other:
        fresh = played(env, np.array([0.0, 3.0]), 1)
        assert np.isfinite(fresh).all()
        assert (fresh[:, :3].max(0) > fresh[:, :3].min(0)).all()  # the hand moves
        np.testing.assert_array_equal(fresh[:, 36:39], 0)  # and does not see the goal
        played(other, np.array([0.0, 77.0]), 2)
        np.testing.assert_array_equal(played(other, np.array([0.0, 3.0]), 1), fresh)


@pytest.mark.parametrize(("name", "classes", "goals"), [(ML1, (1, 1), (50, 50)), (ML10, (10, 5), (500, 250))])
def test_splits_are_disjoint(name: str, classes: tuple[int, int], goals: tuple[int, int]) -> None:
    with closing(made(name)) as env:
        benchmark: Any = env.get_wrapper_attr("benchmark")
    sets = [{tuple(row) for row in rows} for rows in (benchmark.train, benchmark.test)]
    assert tuple(map(len, sets)) == goals
    assert not sets[0] & sets[1]
    skills = [{benchmark.names[int(which)] for which, _ in rows} for rows in sets]
    assert tuple(map(len, skills)) == classes
    if name == ML10:
        assert not skills[0] & skills[1]
    data = [{benchmark.goals[int(which)][int(goal)].data for which, goal in rows} for rows in sets]
    assert tuple(map(len, data)) == goals
    assert not data[0] & data[1]


def test_reaching_is_a_success_and_an_episode_has_500_timesteps() -> None:
    with closing(made(ML1)) as env:
        for goal in (0, 60):
            env.reset(options={"task": np.array([0.0, goal])})
            arm: Any = env.get_wrapper_attr("_simulation")
            seen, ended, reward = [], [], 0.0
            for _ in range(500):
                toward = (10 * (arm._target_pos - arm.tcp_center)).clip(-1, 1)
                *_, reward, _, truncated, info = env.step(np.array([*toward, 0.0], np.float32))
                seen.append(info["success"])
                ended.append(truncated)
            assert not seen[0]
            assert seen[-1]
            assert reward == pytest.approx(10)
            assert ended == [False] * 499 + [True]


def test_the_contract_is_kept() -> None:
    assert check_environment(functools.partial(made, ML1)()) == []


def test_numbers_are_the_same_in_worker_processes() -> None:
    n = 4
    results = []
    for workers in (0, 2):
        with closing(LoopVectorEnv(functools.partial(made, ML10), n, workers=workers)) as env:
            tasks = env.sample_tasks(np.random.default_rng(0), n)
            shown = [env.reset(seed=1, options={"tasks": tasks})[0]]
            rng = np.random.default_rng(1)
            for _ in range(20):
                observation, reward, *_, info = env.step(rng.uniform(-1, 1, (n, 4)))
                shown += [observation, reward, info["success"]]
            results.append(shown)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
