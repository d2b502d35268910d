"""The callbacks one by one, on a problem that takes no time."""

import io
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bowl import Bowl, roll
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginAccumulator

from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.problem import Evaluation, Film, Metrics
from metarl.training import loop, tensorboard_files
from metarl.training.callbacks.callback import Callback
from metarl.training.callbacks.console import ConsoleProgress
from metarl.training.callbacks.films import Films
from metarl.training.callbacks.tensorboard import TensorBoard
from metarl.training.callbacks.validation import Validation


def train(*callbacks: Callback, iterations: int = 3, **options: Any) -> None:
    loop.train(Bowl(), roll(), iterations=iterations, seed=1, callbacks=callbacks, **options)


def lines(every: float, clock: Callable[[], float] = lambda: 0.0, *others: Callback) -> list[str]:
    stream = io.StringIO()
    train(*others, ConsoleProgress(Console(file=stream, width=80), every, clock))
    return stream.getvalue().splitlines()


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    seconds = iter(range(0, 1000, 1))
    shown = lines(4.0, lambda: float(next(seconds)))
    assert shown[0] == "iteration 0 of 3: collecting"
    assert shown[-1].startswith("iteration 3 of 3, 0:")
    assert shown[-1].endswith(": height 1 -> 0.5")
    assert 2 < len(shown) < 8
    assert len(lines(1e9)) == 2  # where it begins and where it ends


def test_a_line_tells_time_scores_and_validation() -> None:
    stages = lines(0.0, lambda: 60.0, validation(1))
    assert "iteration 1 of 3, 0:00, 0:00 left: height 16 -> 8; validation height 16 -> 8 -> 4; collecting" in stages
    assert any(line.endswith("validating") for line in stages[:4])  # already of the first parameters
    ends = lines(0.0, lambda: 60.0)
    assert ends.count(ends[-1]) == 1


def test_a_compilation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first outer step alone is compiled here."""
    collect = Bowl.collect

    def compiling(self: Bowl, theta: Params, iteration: int) -> tuple[Any, Metrics]:
        return SimpleNamespace(must_compile=iteration == 0), collect(self, theta, iteration)[1]

    monkeypatch.setattr(Bowl, "collect", compiling)
    stages = [line.split("; ")[-1].split(": ")[-1] for line in lines(0.0, lambda: 60.0)]
    assert stages.index("outer step, compiled first") < stages.index("outer step")
    assert stages.count("outer step, compiled first") == 1


def validation(every: int, seen: list[Params] | None = None) -> Validation:
    def evaluate(theta: Params) -> Evaluation:
        if seen is not None:
            seen.append(theta)
        return Bowl().evaluate(theta, SGD().build(), 2, np.zeros((2, 1)), 0)

    return Validation(evaluate, every)


@pytest.mark.parametrize(("every", "expected"), [(1, [0, 1, 2, 3]), (2, [0, 2, 3]), (5, [0, 3])])
def test_validation_scores_when_due_and_at_the_end(every: int, expected: list[int], tmp_path: Path) -> None:
    rows = {}

    class Collect(Callback):
        def iteration(self, moment: Any) -> None:
            rows[moment.iteration] = moment.metrics

    train(Collect(), validation(every))
    assert [i for i, row in rows.items() if "validation/height_step2" in row] == expected
    assert rows[3] == {f"validation/height_step{k}": 16 * 0.25**3 * 0.5**k for k in range(3)}  # nothing undeclared


def test_at_80_columns_a_terminal_shows_all_returns_and_moves_while_validating() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    shown: list[bool] = []

    def evaluate(theta: Params) -> Evaluation:
        deadline = time.monotonic() + 30
        while "validating" not in stream.getvalue() and time.monotonic() < deadline:  # drawn while this goes on
            time.sleep(0.01)
        shown.append("validating" in stream.getvalue())
        return Bowl().evaluate(theta, SGD().build(), 2, np.zeros((2, 1)), 0)

    train(Validation(evaluate, 1), ConsoleProgress(console))
    assert all(shown)
    assert "height 1 -> 0.5; validation height 0.25 -> 0.125 -> 0.0625" in stream.getvalue()
    assert "3/3" in stream.getvalue() and "…" not in stream.getvalue()


class Filming:
    def __init__(self, fails: bool) -> None:
        self.fails, self.shown, self.asked = fails, list[int](), 0

    def film(self, theta: Params) -> list[Film]:
        self.asked += 1
        if self.fails:
            raise RuntimeError("no OpenGL")
        return Bowl().pictures(theta, SGD().build(), 1, np.zeros((1, 1)), 0, 0)

    def show(self, iteration: int, films: list[Film]) -> None:
        self.shown.append(iteration)


def test_films_are_shown_when_due() -> None:
    filming = Filming(fails=False)
    train(Films(filming.film, filming.show, 2), iterations=5)
    assert filming.shown == [0, 2, 4]


def test_a_film_that_fails_ends_no_training_and_is_warned_of_once() -> None:
    filming = Filming(fails=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(Films(filming.film, filming.show, 1))
    assert [str(one.message) for one in caught] == ["no films from here on, for filming failed: no OpenGL"]
    assert (filming.asked, filming.shown) == (1, [])


def test_films_reach_tensorboard(tmp_path: Path) -> None:
    filming, tensorboard = Filming(fails=False), TensorBoard(tmp_path)
    train(tensorboard, Films(filming.film, tensorboard.show, 2))
    images = EventAccumulator(str(tmp_path)).Reload().Images("adaptation")
    assert [image.step for image in images] == [0, 2]
    assert images[0].encoded_image_string.startswith(b"GIF8")


def test_a_clock_that_goes_back_hides_no_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of four iterations, of which the last two are done again by a machine whose clock is a day behind."""
    state = loop.train(Bowl(), roll(), iterations=2, seed=1)
    accumulator = PluginAccumulator(str(tmp_path))
    train(TensorBoard(tmp_path), iterations=4)
    accumulator.Reload()  # as a TensorBoard that is open all the time
    now = tensorboard_files.time.time()
    monkeypatch.setattr(tensorboard_files.time, "time", lambda: now - 86400)
    train(TensorBoard(tmp_path), iterations=5, state=state)
    for one in (accumulator.Reload(), PluginAccumulator(str(tmp_path)).Reload()):
        points = one.Tensors("Learning/bowl/height_step0")
        assert [point.step for point in points] == [0, 1, 2, 3, 4]
        times = [point.wall_time for point in points]
        assert times == sorted(times)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_names_the_event_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tensorboard_files.EventFile(tmp_path)

    def full() -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(file._records, "flush", full)
    with pytest.raises(OSError, match=r"cannot write .*tfevents.* \(No space left on device\)"):
        file.add(0)
    file.close()
