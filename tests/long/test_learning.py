"""The settings that are known to learn do: a change of the code cannot take learning away unseen."""

import json
from pathlib import Path

from scripts import run

from metarl.experiments.benchmarks.learning import MARGIN


def test_the_half_cheetah_learns_in_ten_iterations(tmp_path: Path) -> None:
    output = tmp_path / "benchmark.json"
    done = run("benchmark", "learning", "--quick", "--output", output)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(output.read_text())["learning"]
    assert row["rise"] >= MARGIN
