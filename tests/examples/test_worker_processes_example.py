"""The example of worker processes: its physics, and that it trains with workers as without."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scripts import ROOT, TOY, run
from worker_processes import HeatedRod

import metarl

FILE = ROOT / "examples" / "worker_processes.py"


def test_heat_flows_to_the_far_end_and_is_lost() -> None:
    assert metarl.check_environment(HeatedRod()) == []
    env = HeatedRod()
    env.reset(seed=0, options={"task": np.array([0.5])})
    env.rod = [0.0] * len(env.rod)
    played = [env.step(np.array([5.0])) for _ in range(40)]  # beyond its bound of 1
    ends = [0.5 + reward for _, reward, *_ in played if reward < 0]
    near, *_, far = played[-1][0]
    assert 0 < ends[0] < ends[5] < env.rod[-1]
    assert near > far > 0
    # What the heater gives in a sweep is what all cells lose once nothing changes: 0.4 * 0.1 / 2 = 0.001 * the sum.
    assert sum(env.rod) == pytest.approx(20.0, rel=0.05)
    heated = env.rod[-1]
    env.step(np.zeros(1))
    assert 0 < env.rod[-1] < heated


def test_a_worker_process_finds_it(tmp_path: Path) -> None:
    flags = ("--environment", f"{FILE}:HeatedRod-v0", "--workers", "1")
    result = run("train", "custom", *flags, *TOY, "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3


def test_it_trains_from_python(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[list[str]] = []
    monkeypatch.setattr("metarl.experiments.train.command", taken.append)
    monkeypatch.setattr("sys.argv", ["worker_processes.py"])
    runpy.run_path(str(FILE), run_name="__main__")
    assert taken[0][:3] == ["custom", "--environment", "worker_processes:HeatedRod-v0"]
    assert taken[0][3:5] == ["--workers", "2"]
