"""Outer optimisers that do not keep their contract, as a training finds them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from bowl import Bowl, roll

import metarl
from metarl.engine.outer import Info, OuterOptimizer, State
from metarl.engine.params import Params
from metarl.training.callbacks.callback import Callback, Moment
from metarl.training.callbacks.csv import Csv, read_metrics


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
