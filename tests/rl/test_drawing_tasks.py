"""What `sample_tasks` may draw, and what it is told about anything else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from metarl.rl.drawing_tasks import draw_tasks
from metarl.tasks import task_names_of


@pytest.mark.parametrize(
    "rows",
    [
        [[0.5], [2]],
        [(0.5,), (2,)],
        np.array([[0.5], [2.0]], np.float32),
        torch.tensor([[0.5], [2.0]]),
        [np.array([0.5]), np.array([2.0])],
        [[np.float32(0.5)], [np.int8(2)]],
    ],
)
def test_rows_of_any_kind(rows: Any) -> None:
    drawn = draw_tasks(lambda rng, n: rows, np.random.default_rng(0), 2)
    assert drawn.dtype == np.float64
    np.testing.assert_array_equal(drawn, [[0.5], [2.0]])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([0.5, 2.0], r"asked for 2 it drew \(2,\): a task of one number is a row, too"),
        (np.zeros((2, 1, 1)), r"asked for 2 it drew \(2, 1, 1\)$"),
        (np.zeros((3, 1)), r"asked for 2 it drew \(3, 1\)$"),
        (np.zeros((2, 0)), r"asked for 2 it drew \(2, 0\)$"),
        ([{"goal": 0.5}, {"goal": 2.0}], r"it drew \[\{'goal': 0.5\}, \{'goal': 2.0\}\]$"),
        ({"goal": [0.5, 2.0]}, r"it drew \{'goal'"),
        (None, "it drew None$"),
        (["left", "right"], r"it drew \['left', 'right'\]$"),
        ([["0.5"], ["2"]], r"it drew \[\['0.5'\], \['2'\]\]$"),
        ([[0.5], [2.0, 1.0]], r"it drew \[\[0.5\], \[2.0, 1.0\]\]$"),
        (np.array([["0.5"], [2]], object), r"it drew object \(2, 1\)$"),
        ([[None], [2.0]], r"it drew \[\[None\], \[2.0\]\]$"),
        ((row for row in [[0.5], [2.0]]), "it drew <generator"),
        (np.zeros((2, 1), complex), r"it drew complex128 \(2, 1\)$"),
        (
            np.array([[1], [-(2**53) - 1]]),
            r"whole numbers must be below 2\^53, or float64 changes them; it drew -9007199",
        ),
        (np.array([[1], [2**64 - 1]], np.uint64), "whole numbers must be below"),
        ([[2**64 + 1], [2**65]], r"it drew \[\[18446744073709551617\], \[36893488147419103232\]\]$"),
        (np.ma.array([[1.0], [2.0]], mask=[[True], [False]]), r"it drew float64 \(2, 1\)$"),
        ([["x" * 99], [1.0]], r"it drew list .*xxx\.\.\.$"),
    ],
)
def test_what_are_no_rows_of_numbers(rows: Any, words: str) -> None:
    right = r"mine: sample_tasks\(rng, n\) must draw n tasks as rows of numbers \[n, k\] from the NumPy generator rng; "
    with pytest.raises(ValueError, match=right + words):
        draw_tasks(lambda rng, n: rows, np.random.default_rng(0), 2, beginning="mine: ")


def old_style(num_tasks: int) -> Any:
    """As the authors' release has it."""
    return np.random.uniform(size=(num_tasks, 1))


def by_name(*, rng: np.random.Generator, n: int) -> Any:
    return rng.uniform(size=(n, 1))


@pytest.mark.parametrize(("sample", "parameters"), [(old_style, r"\(num_tasks: int\)"), (by_name, r"\(\*, rng: .*\)")])
def test_parameters_are_named(sample: Callable[..., Any], parameters: str) -> None:
    with pytest.raises(ValueError, match=f"; its parameters are {parameters}"):
        draw_tasks(sample, np.random.default_rng(0), 2)


def in_order(rng: np.random.Generator, n: int, split: str) -> Any:
    return np.full((n, 1), len(split))


def named(rng: np.random.Generator, n: int, *, split: str = "train") -> Any:
    return np.full((n, 1), len(split))


@pytest.mark.parametrize("sample", [in_order, named])
def test_who_has_splits_is_asked_for_one(sample: Callable[..., Any]) -> None:
    assert draw_tasks(sample, np.random.default_rng(0), 2, "validation").tolist() == [[10.0], [10.0]]


def test_what_is_no_method_and_what_has_no_signature() -> None:
    with pytest.raises(ValueError, match="sample_tasks is ndarray, no method"):
        draw_tasks(np.ones((4, 1)), np.random.default_rng(0), 2)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError):  # its own error
        draw_tasks(dict.fromkeys, np.random.default_rng(0), 2)


def test_the_users_own_error_is_passed_on() -> None:
    def mine(rng: np.random.Generator, n: int) -> Any:
        raise ValueError("the user's idea")

    with pytest.raises(ValueError, match=r"^the user's idea$"):
        draw_tasks(mine, np.random.default_rng(0), 2, beginning="mine: ")


def test_task_names() -> None:
    assert task_names_of("env", None, 2) == ("task_0", "task_1")
    assert task_names_of("env", ["goal", "speed [m/s]"], 2) == ("goal", "speed [m/s]")
    for names in ("goal", ("goal",), ("goal", 1), 3, ["a", "b", "c"], ["a", "a"]):
        with pytest.raises(ValueError, match="env: task_names must be a list of 2 different names"):
            task_names_of("env", names, 2)
