"""What a training tells callbacks, and what it takes from them."""

import math
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bowl import Bowl, Diary, roll, train
from scripts import ROOT

import metarl
from metarl.training.callbacks.callback import Callback, Moment
from metarl.training.callbacks.csv import read_metrics
from metarl.training.state import TrainState


def test_a_callback_hears_everything_in_order(tmp_path: Path) -> None:
    diary = Diary()
    state = train(tmp_path / "run", callbacks=[diary])
    steps = [(i, True, True, False) for i in range(3)]
    assert diary.heard == [("start", 3, 0), *steps, (3, False, False, True), ("close", type(None))]
    assert state.iteration == 3
    assert state.outer_state["steps"] == 3
    assert torch.equal(state.theta["x"], torch.full((3,), 0.25))


def test_a_callback_closes_with_the_error_that_ended_the_training(tmp_path: Path) -> None:
    class Failing(Callback):
        def iteration(self, moment: Moment) -> None:
            raise ZeroDivisionError

    diary = Diary()
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", callbacks=[diary, Failing()])
    assert diary.heard[-1] == ("close", ZeroDivisionError)


def test_what_callbacks_measure_is_logged_and_seen_by_all(tmp_path: Path) -> None:
    seen = []

    class Seeing(Callback):
        def iteration(self, moment: Moment) -> None:
            seen.append(moment.metrics.get("diary/pages"))

    metarl.train(Bowl(), roll(), run_dir=tmp_path / "run", iterations=2, callbacks=iter([Seeing(), Diary()]))
    assert seen == [1, 2, 3]
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["diary/pages"] for row in rows] == seen
    assert [row.get("bowl/height_step0") for row in rows] == [7.0, 7.0 / 4, None]


def test_an_exit_within_an_iteration_is_an_error(tmp_path: Path) -> None:
    class Exiting(Callback):
        def iteration(self, moment: Moment) -> None:
            sys.exit(0)

    with pytest.raises(RuntimeError, match=r"called sys\.exit\(0\)"):
        train(tmp_path / "run", callbacks=[Exiting()])


def test_the_example_of_a_callback(tmp_path: Path) -> None:
    program = runpy.run_path(str(ROOT / "examples" / "own_callback.py"))
    gains = program["main"](str(tmp_path / "run"))
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert gains == [row["rollout/return_step1"] - row["rollout/return_step0"] for row in rows]
    assert len(gains) == 3


class Answering(Callback):
    """Measures whatever it is given."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def measure(self, state: TrainState) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, r"Answering must measure numbers by name, and \{\} where it measures nothing; got None"),
        ({3: 1.0}, "must measure numbers by name"),
        ({"mine": "1e3"}, "Answering measures 'mine', which must be a number; got '1e3'"),
        ({"mine": None}, "must be a number; got None"),
        ({"mine": np.ones(2)}, r"must be a number; got array\(\[1., 1.\]\)"),
        ({"outer/nonfinite": 3.0}, "measures 'outer/nonfinite', which is the name of another metric"),
        ({"iteration": 3.0}, "measures 'iteration', which is the name of another metric"),
        ({"twice": 3.0}, "measures 'twice', which is the name of another metric"),
    ],
)
def test_callbacks_measure_numbers_under_names_of_their_own(tmp_path: Path, answer: Any, words: str) -> None:
    """A metric of an iteration was replaced in silence, even the iteration's number."""
    with pytest.raises(ValueError, match=words):
        train(tmp_path / "run", callbacks=[Answering({"twice": 1.0}), Answering(answer)])


def test_numbers_of_any_kind_are_metrics(tmp_path: Path) -> None:
    answer = {"a": np.float32(0.5), "b": torch.tensor(2), "c": True, "d": math.nan}
    heard = []

    class Hearing(Callback):
        def iteration(self, moment: Moment) -> None:
            heard.append([moment.metrics[name] for name in "abcd"])

    train(tmp_path / "run", iterations=1, callbacks=[Answering(answer), Hearing()])
    assert str(heard[0]) == "[0.5, 2.0, 1.0, nan]"


def cleared(moment: Moment) -> None:
    moment.metrics.clear()


def renamed(moment: Moment) -> None:
    moment.metrics["bowl/height_step0"] = 99.0


def zeroed(moment: Moment) -> None:
    moment.after.theta["x"].zero_()


def replaced(moment: Moment) -> None:
    moment.before.theta["x"] = torch.zeros(3)


def counted(moment: Moment) -> None:
    moment.after.outer_state["steps"].add_(1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cleared, "callback Changing must not change the metrics of an iteration"),
        (renamed, "callback Changing must not change the metrics of an iteration"),
        (zeroed, "callback Changing must not change the parameters in place"),
        (replaced, "callback Changing must not change the parameters in place"),
        (counted, "callback Changing must not change the parameters in place"),
    ],
)
def test_callbacks_change_neither_parameters_nor_metrics(tmp_path: Path, change: Any, words: str) -> None:
    class Changing(Callback):
        def iteration(self, moment: Moment) -> None:
            change(moment)

    with pytest.raises(ValueError, match=words):
        train(tmp_path / "run", callbacks=[Changing()])


@pytest.mark.parametrize(
    ("callbacks", "words"),
    [
        ([Diary], "callbacks must be of the class Callback; got <class '.*Diary'>: make one by calling it"),
        ([print], "callbacks must be of the class Callback; got <built-in function print>"),
        (Diary(), "callbacks must be a list of them"),
        (3, "callbacks must be a list of them; got 3"),
    ],
)
def test_what_is_no_callback_leaves_nothing_behind(tmp_path: Path, callbacks: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        train(tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()
