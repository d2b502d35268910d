"""The progress line: how far runs are, what waits, and how long that takes at the pace so far."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from metarl.experiments.catalogue.experiment import Training
from metarl.experiments.reproducing.progress_line import Progress
from metarl.experiments.reproducing.stored_runs import ExperimentRun, Place, iterations_logged


def log(run: ExperimentRun, iterations: int) -> None:
    run.directory.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{iteration},1.5\n" for iteration in range(iterations))
    (run.directory / "metrics.csv").write_text(f"iteration,loss\n{rows}")


def test_the_line_tells_iterations_counts_and_time(tmp_path: Path) -> None:
    place, now = Place(tmp_path / "runs", tmp_path / "results"), [0.0]
    runs = [ExperimentRun("study", Training(name, "toy"), place) for name in ("one", "two", "three")]
    strange = ExperimentRun("other", Training("strange", "toy"), place)
    progress = Progress(Console(file=io.StringIO()), [*runs, strange], jobs=1, clock=lambda: now[0])
    assert progress.line() == "0 done, 4 waiting"
    log(runs[0], 4)  # of a day before: these took no time today
    with progress.making(runs[0], 10) as active:
        assert progress.line() == "study/one trains, iteration 4 of 10; 0 done, 3 waiting"
        now[0] = 600.0
        log(runs[0], 6)
        # 5 minutes an iteration: 20 for the other four, and 50 each for the two that wait
        assert progress.line() == (
            "study/one trains, iteration 6 of 10; 0 done, 3 waiting, about 2 h 0 min left without 1 not timed yet"
        )
        log(runs[0], 10)
        active.stage = "is evaluated"
        assert progress.line().startswith("study/one is evaluated, iteration 10 of 10")
    assert progress.line() == "1 done, 3 waiting, about 33 min left without 1 not timed yet"  # 10 minutes for 6 of 10
    with pytest.raises(ValueError, match="killed"), progress.making(runs[1], 10):
        raise ValueError("killed")
    assert progress.line().startswith("1 done, 2 waiting")


def test_iterations_are_those_of_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    assert iterations_logged(path) == 0
    for text, iterations in (("iteration,a", 0), ("iteration,a\n", 0), ("iteration,a\n0,1\n", 1)):
        path.write_text(text)
        assert iterations_logged(path) == iterations
    path.write_text("iteration,a\n" + "".join(f"{i},{'9' * 100}\n" for i in range(500)) + "500,9")
    assert iterations_logged(path) == 500
