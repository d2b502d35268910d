"""The example of an environment of one's own: its physics, its tasks, and that it trains by name."""

import csv
import runpy
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from own_environment import FASTEST, GRAVITY, RodPendulum
from scripts import ROOT, TOY, run


@pytest.mark.filterwarnings("ignore:.*(we recommend|infinity)")  # a torque in N m; angular velocity has no bound
def test_it_is_a_gymnasium_environment_with_tasks() -> None:
    check_env(RodPendulum(), skip_render_check=True)
    env = RodPendulum()
    tasks = env.sample_tasks(np.random.default_rng(0), 1000)
    assert tasks.shape == (1000, 1)
    assert 0.5 < tasks.min() < 0.51 < 1.49 < tasks.max() < 1.5
    first, _ = env.reset(seed=1, options={"task": tasks[0]})
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(first, again)
    assert env.length == tasks[0, 0]


@pytest.mark.parametrize("length", [0.5, 1.2])
def test_the_torque_that_carries_the_weight_holds_it_level(length: float) -> None:
    env = RodPendulum()
    env.reset(seed=0, options={"task": np.array([length])})
    env.angle, env.velocity = np.pi / 2, 0.0
    rewards = [env.step(np.array([GRAVITY * length]))[1] for _ in range(10)]
    assert rewards == pytest.approx([0.0] * 10, abs=1e-20)
    assert env.step(np.zeros(1))[1] < -1e-6


def test_it_spins_no_faster_than_it_may_and_is_never_more_than_half_a_turn_away() -> None:
    env = RodPendulum()
    env.reset(seed=0, options={"task": np.array([0.5])})
    played = [env.step(np.array([20.0])) for _ in range(100)]
    assert max(observation[2] for observation, *_ in played) == FASTEST
    assert -(np.pi**2) <= min(reward for _, reward, *_ in played) < -9


def test_it_trains_from_the_command_line(tmp_path: Path) -> None:
    result = run(
        "train", "custom", "--environment", "own_environment:RodPendulum-v0", *TOY, "--run-dir", tmp_path / "run"
    )
    assert result.returncode == 0, result.stderr
    with (tmp_path / "run" / "metrics.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2


def test_it_trains_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []
    monkeypatch.setattr("metarl.experiments.train.command", taken.append)
    monkeypatch.delitem(gymnasium.registry, "RodPendulum-v0")
    runpy.run_path(str(ROOT / "examples" / "own_environment.py"), run_name="__main__")
    assert run("train", *taken[0], *TOY, "--run-dir", tmp_path / "run").returncode == 0
