"""The example of discrete actions: that gravity is the task, and that it trains and acts from both sides."""

import runpy
from pathlib import Path

import cartpole
import numpy as np
import pytest
from scripts import ROOT, TOY, run

import metarl
from metarl.envs import LoopVectorEnv
from metarl.training.run_directory import read_config
from metarl.training.tree import flat


def test_gravity_is_the_task_and_falls_are_faster_under_more_of_it() -> None:
    assert metarl.check_environment(cartpole.make()) == []
    env = LoopVectorEnv(cartpole.make, 3)
    env.reset(seed=[0, 0, 0], options={"tasks": [[1.6], [9.8], [30.0]]})
    lengths = np.zeros(3)
    for t in range(300):
        _, rewards, terminated, _, _ = env.step(np.full(3, t % 2))
        lengths += rewards
        if terminated.all():
            break
    assert lengths[0] >= lengths[1] >= lengths[2] > 0
    assert lengths[0] > lengths[2]


def test_it_trains_from_the_command_line_and_acts_in_whole_numbers(tmp_path: Path) -> None:
    place, environment = tmp_path / "run", ("--environment", "cartpole:GravityCartPole-v0")
    result = run("train", "custom", *environment, *TOY, "--run-dir", place)
    assert result.returncode == 0, result.stderr
    assert flat(read_config(place))["policy"] == "categorical_mlp"
    agent = metarl.load_agent(place)
    action = agent.act(np.zeros(4, np.float32))
    assert action.dtype == np.int64
    assert action.shape == ()
    samples = agent.act(np.zeros((50, 4)), np.random.default_rng(0))
    assert set(samples.tolist()) == {0, 1}
    assert 1 <= cartpole.balanced(str(place), 9.8, timesteps=20) <= 20


def test_it_trains_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []
    monkeypatch.setattr("metarl.experiments.train.command", taken.append)
    monkeypatch.setattr("sys.argv", ["cartpole.py"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="runs/cartpole holds no run"):  # nothing was trained
        runpy.run_path(str(ROOT / "examples" / "cartpole.py"), run_name="__main__")
    assert taken[0][:3] == ["custom", "--environment", "cartpole:GravityCartPole-v0"]
