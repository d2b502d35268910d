"""metarl.train and metarl.evaluate: calls that know no configuration."""

import math
import os
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bowl import Bowl, roll
from scripts import ROOT

import metarl
from metarl.engine.outer import Info, OuterOptimizer, State
from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.problem import Metrics
from metarl.randomness import Purpose
from metarl.training import loop
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.callbacks.csv import Csv, read_metrics
from metarl.training.checkpoint import load
from metarl.training.state import TrainState


class Diary(Callback):
    """Everything that a callback hears, in order."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def start(self, training: Training, state: TrainState) -> None:
        self.heard.append(("start", training.iterations, state.iteration))

    def measure(self, state: TrainState) -> Metrics:
        return {"diary/pages": float(len(self.heard))}

    def iteration(self, moment: Moment) -> None:
        self.heard.append((moment.iteration, moment.stepped, moment.best, moment.last))

    def close(self, error: BaseException | None) -> None:
        self.heard.append(("close", type(error)))


def train(run_dir: Path, iterations: int = 3, **options: Any) -> TrainState:
    options = {"seed": 1, "sinks": []} | options
    return metarl.train(Bowl(), roll(), run_dir=run_dir, iterations=iterations, **options)


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
        ({"grace": math.inf}, "grace must be a finite number of seconds, at least 0; got inf"),
        ({"grace": "5"}, "grace must be a finite number of seconds, at least 0; got '5'"),
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


def test_evaluate_draws_held_out_tasks_or_takes_ones_own() -> None:
    theta = Bowl().initial_parameters(1)
    drawn = metarl.evaluate(Bowl(), theta, rule=SGD().build(), steps=2, tasks=5, seed=3)
    assert drawn.scores["height"].shape == (3, 5)
    np.testing.assert_array_equal(drawn.traces["tasks"], np.full((5, 1), 30.0 + Purpose.EVALUATION_TASKS))
    own = metarl.evaluate(Bowl(), theta, rule=SGD().build(), tasks=[[0.0], [1.0]])
    np.testing.assert_array_equal(own.scores["height"], [[16.0, 17.0], [8.0, 9.0]])
    for tasks, words in ((0, "at least 1; got 0"), ([1.0, 2.0], r"shape \[N, k\].*got \(2,\)")):
        with pytest.raises(ValueError, match=words):
            metarl.evaluate(Bowl(), theta, rule=SGD().build(), tasks=tasks)
    with pytest.raises(ValueError, match="steps must be at least 0; got -1"):
        metarl.evaluate(Bowl(), theta, rule=SGD().build(), steps=-1)


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


def test_the_standard_sinks_write_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "run", sinks=None)
    assert "iteration 3 of 3" in capsys.readouterr().err
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 3


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


def test_what_is_no_problem_and_no_optimiser(tmp_path: Path) -> None:
    part: Any = SGD()
    kind: Any = Bowl
    with pytest.raises(ValueError, match=r"problem must be a Problem, such as a MetaRL; got <class 'bowl.Bowl'>"):
        metarl.train(kind, roll(), run_dir=tmp_path / "run", iterations=1)
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


def stepping(change: Any) -> OuterOptimizer:
    """The optimiser of the bowl, after whose steps `change(theta, state)` gives what it makes."""
    outer = roll()

    def step(theta: Params, state: State, objective: Any) -> tuple[Params, State, Info]:
        moved, after, info = outer.step(theta, state, objective)
        return (*change(theta, moved, after), info)

    return outer._replace(step=step)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda theta, moved, state: ({"x": moved["x"]}, state),
            "an outer step must give the parameters .*; it lacks y",
        ),
        (
            lambda theta, moved, state: ({name: leaf.double() for name, leaf in moved.items()}, state),
            "keep x torch.float32",
        ),
        (
            lambda theta, moved, state: (moved | {"x": moved["x"][:1]}, state),
            r"keep x .* \[3\]; got torch.float32 \[1\]",
        ),
        (lambda theta, moved, state: (moved | {"x": moved["x"].requires_grad_()}, state), "must detach x"),
        (lambda theta, moved, state: (moved, {}), "the state of an outer optimiser must give .*; it lacks steps"),
        (
            lambda theta, moved, state: (moved, {"steps": 3}),
            "the state of an outer optimiser must give tensors by name",
        ),
        (
            lambda theta, moved, state: (theta | {"x": theta["x"].zero_()}, state),
            "must not change parameters or state in",
        ),
    ],
)
def test_outer_steps_that_change_more_than_values(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metarl.train(Bowl(), stepping(change), run_dir=tmp_path / "run", iterations=2, sinks=[])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda theta, state, info: (theta, state), "must give parameters, state and info; got 2 results"),
        (lambda theta, state, info: theta, "must give parameters, state and info; got dict"),
        (lambda theta, state, info: (theta, state, None), "must measure numbers by name, .*; got None"),
        (
            lambda theta, state, info: (theta, state, info | {"note": "a"}),
            "measures 'note', which must be a number; got",
        ),
        (
            lambda theta, state, info: (theta, state, info | {"all": theta["x"]}),
            "measures 'all', which must be a number",
        ),
    ],
)
def test_what_outer_steps_say_of_themselves(tmp_path: Path, change: Any, words: str) -> None:
    outer = roll()
    odd = outer._replace(step=lambda *arguments: change(*outer.step(*arguments)))
    with pytest.raises(ValueError, match=f"an outer step {words}"):
        metarl.train(Bowl(), odd, run_dir=tmp_path / "run", iterations=2, sinks=[])
    fine = outer._replace(step=lambda *arguments: (*outer.step(*arguments)[:2], {"size": torch.tensor([3])}))
    train_with = {"run_dir": tmp_path / "fine", "iterations": 2}
    metarl.train(Bowl(), fine, sinks=[Csv(tmp_path / "metrics.csv")], **train_with)
    assert [row.get("outer/size") for row in read_metrics(tmp_path / "metrics.csv")] == [3.0, 3.0]


def test_an_outer_step_that_is_not_finite_is_refused_whatever_it_says(tmp_path: Path) -> None:
    outer = stepping(lambda theta, moved, state: (moved | {"x": moved["x"] * math.nan}, state))
    refusals = []

    class Seeing(Callback):
        def iteration(self, moment: Moment) -> None:
            refusals.append(moment.refused)

    state = metarl.train(Bowl(), outer, run_dir=tmp_path / "run", iterations=2, sinks=[], callbacks=[Seeing()])
    assert torch.equal(state.theta["x"], Bowl().initial_parameters(0)["x"])
    assert refusals == [True, True, False]
    with pytest.raises(ValueError, match="the last 2 outer steps were refused, for the parameters was not finite"):
        metarl.train(Bowl(), outer, run_dir=tmp_path / "other", iterations=2, sinks=[], max_nonfinite=2)


def test_a_state_of_anything_but_tensors_is_refused_at_the_start(tmp_path: Path) -> None:
    outer = roll()._replace(init=lambda theta: {"n": 0})  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="the state of an outer optimiser must give tensors by name"):
        metarl.train(Bowl(), outer, run_dir=tmp_path / "run", iterations=1)
    assert not (tmp_path / "run").exists()


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 1.5}, "steps must be a whole number; got 1.5"),
        ({"tasks": True}, "tasks must be a whole number; got True"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        (
            {"tasks": [["a"]]},
            r"tasks must be numbers of the shape \[N, k\].*; got \[\['a'\]\]",
        ),
        ({"tasks": ([1.0] for _ in range(2))}, r"tasks must be numbers of the shape \[N, k\].*; got <generator"),
        ({"rule": SGD()}, "rule must be of the class InnerRule; got SGD.*: hand over what its build"),
        ({"theta": None}, "theta must be tensors by name; got NoneType"),
    ],
)
def test_arguments_of_evaluate_that_are_none(options: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {"theta": Bowl().initial_parameters(1), "rule": SGD().build()} | options
    with pytest.raises(ValueError, match=words):
        metarl.evaluate(Bowl(), **arguments)
    scored = metarl.evaluate(Bowl(), Bowl().initial_parameters(1), rule=SGD().build(), tasks=np.int64(3))  # pyright: ignore[reportArgumentType]
    assert scored.scores["height"].shape == (2, 3)


def test_a_resume_that_is_to_end_earlier_says_that_it_cannot(tmp_path: Path) -> None:
    train(tmp_path / "run", 3)
    with pytest.warns(UserWarning, match="has made 3 iterations: to end after 1 means nothing for it any more"):
        state = train(tmp_path / "run", 1, resume=True)
    assert state.iteration == 3


def test_a_meta_gradient_of_zero_is_told_once(tmp_path: Path) -> None:
    """With one reward in all every advantage is 0, and a training learned nothing in silence."""
    outer = roll()

    def step(theta: Params, state: State, objective: Any) -> tuple[Params, State, Info]:
        moved, after, info = outer.step(theta, state, objective)
        return moved, after, info | {"grad_norm": 0.0}

    flat = outer._replace(step=step)
    metarl.train(Bowl(), flat, run_dir=tmp_path / "few", iterations=9, sinks=[])  # rewards may be sparse at first
    with pytest.warns(UserWarning, match="the last 10 meta-gradients, up to iteration 9, were exactly zero") as told:
        metarl.train(Bowl(), flat, run_dir=tmp_path / "run", iterations=12, sinks=[])
    assert len(told) == 1


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
