"""Configuration values of all sorts, by hypothesis: accepted, and a step is trained, or refused in one line."""

import shutil
import tempfile
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripts import TOY, refused, run

from metarl.engine.params import ravel
from metarl.experiments.presets.configuration import preset_config
from metarl.training.checkpoint import load
from metarl.training.config import Config
from metarl.training.tree import leaves

# What would only cost time or memory, names what lies elsewhere, or is somebody else's word.
LEFT_OUT = {"preset", "problem", "environment", "dataset", "compile", "render_every"}
TINY = {
    "navigation": TOY,
    "sinusoid": [
        "--no-compile",
        "--render-every",
        "0",
        "--tasks",
        "2",
        "--iterations",
        "1",
        "--hidden-sizes",
        "8",
        "--validation-tasks",
        "4",
        "--evaluation-steps",
        "2",
    ],
}
NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.floats(1e-6, 2.0).map(repr),
    st.integers(-2, 4).map(str),
    st.sampled_from(["", "nan", "-inf", "1e400", "0x10", "1_0", "1,5", "one"]),
)
SIZES = st.one_of(st.integers(-2, 4).map(str), st.sampled_from(["2.5", "", "two", "-0", "1e1"]))


def values(kind: Any) -> st.SearchStrategy[list[str]]:
    """Words that may follow the flag of a field."""
    if typing.get_origin(kind) is Literal:
        return st.sampled_from([*typing.get_args(kind), "other", ""]).map(lambda word: [word])
    if typing.get_origin(kind) is tuple:
        return st.lists(NUMBERS if float in typing.get_args(kind) else SIZES, max_size=3)
    if float in (kind, *typing.get_args(kind)):
        return NUMBERS.map(lambda word: [word])
    return SIZES.map(lambda word: [word])


def flags(preset: str) -> st.SearchStrategy[list[str]]:
    kinds = {
        leaf.option.name: str if leaf.option.registry else leaf.option.hint
        for leaf in leaves(preset_config(preset))
        if leaf.option.name not in LEFT_OUT
    }

    @st.composite
    def some(draw: st.DrawFn) -> list[str]:
        words: list[str] = []
        for name in draw(st.lists(st.sampled_from(list(kinds)), min_size=1, max_size=3, unique=True)):
            flag = name.replace("_", "-")
            if kinds[name] is bool:
                words.append(draw(st.sampled_from([f"--{flag}", f"--no-{flag}"])))
            elif name == "device":
                words += ["--device", draw(st.sampled_from(["cpu", "cuda", "cuda:99", "tpu", ""]))]
            else:
                words += [f"--{flag}", *draw(values(kinds[name]))]
        return words

    return some()


def attempt(preset: str, words: list[str]) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        result = run("train", preset, *TINY[preset], *words, "--run-dir", place / "run")
        if result.returncode == 0:
            checkpoint = load(place / "run" / "checkpoint.pt")
            assert checkpoint.iteration == Config.from_dict(checkpoint.config).outer_steps
            assert torch.isfinite(ravel(checkpoint.theta)).all()
        else:
            refused(result)
    finally:
        shutil.rmtree(place)


SEARCH = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("size", ["9" * 8, "9" * 12, "9" * 30])
@pytest.mark.parametrize(
    "flag", ["--tasks", "--episodes", "--horizon", "--evaluation-tasks", "--evaluation-episodes", "--validation-tasks"]
)
def test_what_no_machine_has_room_for(flag: str, size: str) -> None:
    result = run("train", "navigation", *TOY, flag, size, "--run-dir", "no-such-place")
    refused(result, "x horizon must be at most 100,000,000; got ")
    assert not Path("no-such-place").exists()


@pytest.mark.parametrize("flag", ["--tasks", "--shots", "--queries"])
def test_what_no_machine_has_room_for_in_examples(flag: str) -> None:
    result = run("train", "sinusoid", *TINY["sinusoid"], flag, "9" * 9, "--run-dir", "no-such-place")
    refused(result, "tasks x ways x (shots + queries) must be at most 100,000,000; got ")


@pytest.mark.parametrize("flag", ["--evaluation-tasks", "--validation-tasks"])
def test_what_no_machine_has_room_for_in_tasks(flag: str) -> None:
    result = run("train", "sinusoid", *TINY["sinusoid"], flag, "9" * 9, "--run-dir", "no-such-place")
    refused(result, "_tasks must be at most 100,000,000; got 999999999")
    assert not Path("no-such-place").exists()


@SEARCH
@given(flags("navigation"))
def test_reinforcement_flags(words: list[str]) -> None:
    attempt("navigation", words)


@SEARCH
@given(flags("sinusoid"))
def test_supervised_flags(words: list[str]) -> None:
    attempt("sinusoid", words)
