"""`metarl demo`: a shipped policy adapts to a task that the user gives."""

import re
from pathlib import Path

import imageio.v3 as iio
import pytest
from scripts import refused, run

from metarl.experiments import demo


def rows(text: str) -> list[list[float]]:
    """The table: gradient steps, then the rest."""
    lines = [line.split() for line in text.splitlines() if re.match(r" +\d+ ", line)]
    return [[float(word) for word in line] for line in lines]


def test_a_point_finds_the_goal_that_it_is_given(tmp_path: Path) -> None:
    done = run("demo", "--task", "0.4", "-0.3", "--output", tmp_path / "new" / "film.gif", "--height", "40")
    assert done.returncode == 0, done.stderr
    assert "task:   goal_x 0.40 m, goal_y -0.30 m\n" in done.stdout
    table = rows(done.stdout)
    assert [int(row[0]) for row in table] == [0, 1, 2]
    returns = [row[-3] for row in table]
    # measured: -46.8, -12.7, -4.1
    assert returns[0] < -30
    assert returns[2] > -10
    assert table[2][-2] < 0.1  # metres from the goal
    frames = iio.imread(tmp_path / "new" / "film.gif")
    assert 2 < len(frames) <= 101
    assert frames.shape[2] == 3 * 40 + 2 * 8


def test_it_takes_a_run_of_ones_own_and_a_task_of_its_own(trained: Path, tmp_path: Path) -> None:
    options = ("--output", tmp_path / "film.png", "--gradient-steps", "1", "--height", "40")
    one, two, other = (run("demo", trained, *options, "--seed", seed) for seed in ("1", "1", "2"))
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout != other.stdout
    assert len(rows(one.stdout)) == 2
    far = run("demo", trained, *options, "--task", "0.4", "-3")
    assert "goal_y -3.00 m (outside of what training draws)" in far.stdout


def test_what_it_refuses(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run("demo", "nowhere"), "there is no run nowhere", "navigation, cheetah, ant")
    refused(run("demo", "--task", "1"), "--task must have 2 numbers")
    refused(run("demo", "cheetah", "--task", "0.5"), "--task must be 1 or -1")
    refused(run("demo", "--output", "film.avi"), "must end in .mp4, .gif or .png")
    refused(run("demo", trained, "--gradient-steps", "-1"), "--gradient-steps must be at least 0; got -1")
    monkeypatch.setattr(demo, "RESULTS", tmp_path / "results")  # an installed copy has none
    refused(run("demo"), "comes without trained policies", "in place of navigation")
    assert not list(tmp_path.glob("*.gif"))
