"""The demo with a robot: half a minute, for the film."""

import re
from pathlib import Path

import pytest
from scripts import run


@pytest.mark.render
def test_a_robot_runs_backward_when_it_is_told(tmp_path: Path) -> None:
    options = ("--task", "-1", "--gradient-steps", "1", "--output", tmp_path / "film.png", "--height", "40")
    done = run("demo", "cheetah", *options)
    assert done.returncode == 0, done.stderr
    table = [line.split() for line in done.stdout.splitlines() if re.match(r" +\d+ ", line)]
    before, after = ([float(word) for word in row] for row in table)
    assert after[-2] > before[-1] + 100  # the return; measured: -92 and 198
    assert after[-1] > 0.8  # m/s
