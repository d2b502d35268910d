"""metarl.train: a training in a directory of its own, without a configuration."""

import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bowl import Bowl, Diary, roll, train

import metarl
from metarl.engine.outer import Info, OuterOptimizer, State
from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.problem import Metrics
from metarl.training import loop
from metarl.training.callbacks.csv import read_metrics
from metarl.training.checkpoint import load


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_library_run_is_bitwise_the_unbroken_one(tmp_path: Path, stop: int) -> None:
    whole = train(tmp_path / "whole", 4)
    train(tmp_path / "resumed", stop)
    with pytest.raises(ValueError, match="already holds a run"):
        train(tmp_path / "resumed", 4)
    resumed = train(tmp_path / "resumed", 4, resume=True)
    assert all(torch.equal(resumed.theta[name], leaf) for name, leaf in whole.theta.items())
    for name in ("checkpoint.pt", "best.pt"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(ValueError, match="belongs to another run: seed is 1 there and 2 here"):
        train(tmp_path / "resumed", 5, resume=True, seed=2)
    with pytest.raises(ValueError, match="belongs to another run: mine is None there and 3 here"):
        train(tmp_path / "resumed", 5, resume=True, config={"seed": 1, "mine": 3})


def test_policies_on_the_way_are_kept(tmp_path: Path) -> None:
    train(tmp_path / "run", 5, keep_every=2, checkpoint_every=4)
    kept = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*.pt"))
    assert kept == ["checkpoint-000002.pt", "checkpoint-000004.pt"]
    assert load(tmp_path / "run" / kept[0]).iteration == 2
    assert torch.equal(load(tmp_path / "run" / kept[0]).theta["x"], torch.full((3,), 0.5))
    assert load(tmp_path / "run" / "checkpoint.pt").iteration == 5
    assert load(tmp_path / "run" / "checkpoint.previous.pt").iteration == 4


def test_a_run_starts_from_another_runs_best_parameters(tmp_path: Path) -> None:
    first = train(tmp_path / "first", 2)
    best = load(tmp_path / "first" / "best.pt")
    assert best.iteration == 1
    again = train(tmp_path / "again", 0, seed=9, initial_parameters=tmp_path / "first")
    assert torch.equal(again.theta["x"], best.theta["x"])
    assert (again.iteration, again.best_score) == (0, -math.inf)
    given = train(tmp_path / "given", 0, seed=9, initial_parameters=first.theta)
    assert torch.equal(given.theta["x"], first.theta["x"])
    with pytest.raises(ValueError, match=r"no checkpoint at .*nothing"):
        train(tmp_path / "x", 0, initial_parameters=tmp_path / "nothing")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(4)}, r"x is of shape \(4,\) there and of shape \(3,\) here"),
        ({"y": None}, r"y is missing there and of shape \(2, 2\) here"),
        ({"z": torch.zeros(1)}, r"z is of shape \(1,\) there and missing here"),
    ],
)
def test_parameters_of_another_network_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    theta = {name: leaf for name, leaf in (Bowl().initial_parameters(0) | change).items() if leaf is not None}
    with pytest.raises(ValueError, match=words):
        train(tmp_path / "run", initial_parameters=theta)
    assert not (tmp_path / "run").exists()
    train(tmp_path / "other", 1)

    class Changed(Bowl):
        def initial_parameters(self, seed: int) -> Params:
            return theta

    with pytest.raises(ValueError, match="the state after 1 iterations fits another network or optimiser"):
        metarl.train(Changed(), roll(), run_dir=tmp_path / "other", iterations=2, seed=1, sinks=[], resume=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"iterations": -1}, "iterations must be at least 0; got -1"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1; got 0"),
        ({"log_every": 0}, "log_every must be at least 1; got 0"),
        ({"keep_every": -1}, "keep_every must be at least 0; got -1"),
        ({"grace": math.inf}, "grace must be a number of seconds, a million at most; got inf"),
        ({"grace": "5"}, "grace must be a number of seconds; got '5'"),
    ],
)
def test_numbers_that_make_no_sense(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        train(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


class Walking(Bowl):
    """Bowl, with ten more timesteps in every iteration than in the one before, and scores of one's own."""

    scores: tuple[float | None, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)

    def collect(self, theta: Params, iteration: int) -> Any:
        objective, metrics = super().collect(theta, iteration)
        return objective, metrics | {"env_steps": 10.0 * (iteration + 1), "at": float(iteration)}

    def score(self, metrics: Metrics) -> float | None:
        return self.scores[int(metrics["at"])] if "at" in metrics else None


@pytest.mark.parametrize("stop", [1, 3])
def test_timesteps_are_counted_over_all_iterations_and_sessions(tmp_path: Path, stop: int) -> None:
    for iterations in (stop, 4):
        state = metarl.train(
            Walking(), roll(), run_dir=tmp_path / "run", iterations=iterations, resume=iterations == 4, log_every=1
        )
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [row["env_steps"] for row in rows] == [10, 30, 60, 100]
    assert state.env_steps == 100


def test_metrics_are_logged_every_so_many_iterations_and_everything_else_goes_on(tmp_path: Path) -> None:
    """Whatever the problem measures: the best parameters, and what is counted, do not depend on it."""
    seen = Diary()
    metarl.train(Walking(), roll(), run_dir=tmp_path / "run", iterations=5, log_every=3, callbacks=[seen])
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [(row["iteration"], row.get("env_steps")) for row in rows if "env_steps" in row] == [(0, 10), (3, 100)]
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3, 4, 5]  # what callbacks measure is theirs to time
    metarl.train(Walking(), roll(), run_dir=tmp_path / "plain", iterations=5, log_every=3)
    assert [row["iteration"] for row in read_metrics(tmp_path / "plain" / "metrics.csv")] == [0, 3]
    assert load(tmp_path / "plain" / "best.pt").iteration == 4
    metarl.train(Walking(), roll(), run_dir=tmp_path / "plain", iterations=5, log_every=3, resume=True)


def test_a_refused_step_is_logged_whenever_it_is(tmp_path: Path) -> None:
    def step(theta: Params, state: State, objective: Any) -> tuple[Params, State, Info]:
        refused = float(theta["x"][0] < 1)  # from the second step on
        return ({name: leaf / 4 for name, leaf in theta.items()}, state, {"nonfinite": refused})

    outer = OuterOptimizer(lambda theta: {}, step)
    metarl.train(Walking(), outer, run_dir=tmp_path / "run", iterations=3, seed=1, log_every=9)
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert [(row["iteration"], row["outer/nonfinite"]) for row in rows] == [(0, 0), (1, 1), (2, 1)]


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ((-3.0, None, -2.0, -2.5), 2),  # None: a policy diverged
        ((-3.0, math.nan, -4.0, -5.0), 0),
        ((-1.0, -1.0, -1.0, None), 0),  # the first of equals
        ((None, None, None, -9.0), 3),
    ],
)
def test_the_best_parameters_are_of_the_best_score_that_there_is(
    tmp_path: Path, scores: tuple[float | None, ...], best: int
) -> None:
    problem = Walking()
    problem.scores = scores
    state = metarl.train(problem, roll(), run_dir=tmp_path / "run", iterations=4)
    assert load(tmp_path / "run" / "best.pt").iteration == best
    assert state.best_score == scores[best]


def test_the_loop_needs_no_directory() -> None:
    diary = Diary()
    state = loop.train(Bowl(), roll(), iterations=2, seed=1, callbacks=[diary])
    assert (state.iteration, state.best_score) == (2, -0.5 * 16 / 4)
    more = loop.train(Bowl(), roll(), iterations=3, callbacks=[diary], state=state)
    assert torch.equal(more.theta["x"], torch.full((3,), 0.25))
    assert loop.train(Bowl(), roll(), iterations=3, callbacks=[diary], state=more).iteration == 3
    assert len([word for word in diary.heard if word[0] == "start"]) == 2  # nothing was left to do


def test_the_standard_sinks_write_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run", sinks=None)
    assert "iteration 3 of 3" in capsys.readouterr().err
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 3


def test_what_is_no_problem_and_no_optimiser(tmp_path: Path) -> None:
    part: Any = SGD()
    kind: Any = Bowl
    with pytest.raises(ValueError, match=r"problem must be a Problem, such as a MetaRL; got <class 'bowl.Bowl'>"):
        metarl.train(kind, roll(), run_dir=tmp_path / "run", iterations=1)
    with pytest.raises(ValueError, match=r"problem must be a Problem, such as a MetaRL; got <class 'bowl.Bowl'>"):
        metarl.evaluate(kind, {}, rule=SGD().build())
    with pytest.raises(ValueError, match=r"shard must be of the class Shard; got 3"):
        train(tmp_path / "run", 1, shard=3)
    with pytest.raises(ValueError, match=r"problem must be a Problem, such as a MetaRL; got SGD"):
        metarl.train(part, roll(), run_dir=tmp_path / "run", iterations=1)
    with pytest.raises(
        ValueError, match=r"outer must be of the class OuterOptimizer; got SGD.*: hand over what its build"
    ):
        metarl.train(Bowl(), part, run_dir=tmp_path / "run", iterations=1)


@pytest.mark.parametrize("options", [{"iterations": 2.5}, {"seed": 1.0}, {"log_every": 1.5}, {"keep_every": "3"}])
def test_what_is_no_whole_number(tmp_path: Path, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be a whole number; got "):
        train(tmp_path / "run", **options)


def test_parameters_to_start_from_are_finite_and_have_no_effect_on_a_run_that_goes_on(tmp_path: Path) -> None:
    theta = Bowl().initial_parameters(5)
    with pytest.raises(ValueError, match="what training should start from is not finite"):
        train(tmp_path / "run", initial_parameters=theta | {"x": theta["x"] * math.inf})
    train(tmp_path / "run", initial_parameters=theta, iterations=1)
    with pytest.warns(
        UserWarning, match="initial parameters have no effect: .*run goes on from its own, after 1 iterations"
    ):
        state = train(tmp_path / "run", initial_parameters=Bowl().initial_parameters(1), iterations=2, resume=True)
    assert torch.equal(state.theta["x"], theta["x"] / 4)


def test_a_training_starts_from_the_file_of_a_checkpoint(tmp_path: Path) -> None:
    first = train(tmp_path / "first", iterations=3, keep_every=2)
    again = train(tmp_path / "again", iterations=0, initial_parameters=tmp_path / "first" / "checkpoint-000002.pt")
    assert torch.equal(again.theta["x"], first.theta["x"] * 2)


def test_a_resume_that_is_to_end_earlier_says_that_it_cannot(tmp_path: Path) -> None:
    train(tmp_path / "run", 3)
    with pytest.warns(UserWarning, match="has made 3 iterations: to end after 1 means nothing for it any more") as told:
        state = train(tmp_path / "run", 1, resume=True)
    assert state.iteration == 3
    # The line that called metarl.train.
    assert [Path(warning.filename).name for warning in told] == ["bowl.py"]


@pytest.mark.parametrize("has_reader", [True, False])
def test_a_training_needs_nobody_who_reads_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_reader: bool
) -> None:
    """A program in a pipe whose end has gone, or without a standard error."""
    stream = None
    if has_reader:
        reading, writing = os.pipe()
        os.close(reading)
        stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, "stderr", stream)
    assert metarl.train(Bowl(), roll(), run_dir=tmp_path / "run", iterations=2).iteration == 2
    if stream:
        stream.close()


def test_values_of_a_run_may_be_numpys_and_nan(tmp_path: Path) -> None:
    values = {
        "seed": np.int64(1),
        "shares": np.array([0.5, 0.25]),
        "size": np.float32(0.5),
        "limit": math.nan,
        "a": (1,),
    }
    train(tmp_path / "run", 1, config=values)
    assert train(tmp_path / "run", 2, config=dict(reversed(values.items())), resume=True).iteration == 2
    with pytest.raises(ValueError, match=r"belongs to another run: limit is nan there and 1 here"):
        train(tmp_path / "run", 3, config=values | {"limit": 1}, resume=True)
    assert train(tmp_path / "run", 3, config=values | {"seed": 1.0}, resume=True).iteration == 3
    assert train(tmp_path / "other", 1, seed=np.int64(3)).config == {"seed": 3}
    for odd in ({"place": tmp_path}, {"rule": SGD()}, {(1, 2): 3}):
        with pytest.raises(ValueError, match="config must be texts, numbers, and lists and dicts of them, by name: "):
            train(tmp_path / "third", 1, config=odd)
    with pytest.raises(ValueError, match="resume must be True or False; got 'no'"):
        train(tmp_path / "run", 3, config=values, resume="no")


def test_a_problem_may_move_the_process_to_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As simulators do; a run in a folder that is named from here ended without a place for its checkpoints."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    class Restless(Bowl):
        def collect(self, theta: Params, iteration: int) -> Any:
            os.chdir(tmp_path / "elsewhere")
            return super().collect(theta, iteration)

    metarl.train(Restless(), roll(), run_dir="run", iterations=2, sinks=[])
    assert load(tmp_path / "run" / "checkpoint.pt").iteration == 2
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("place", [None, "", 3])
def test_what_is_no_run_directory(place: Any) -> None:
    with pytest.raises(ValueError, match="run_dir must be a path; got"):
        metarl.train(Bowl(), roll(), run_dir=place, iterations=1)
