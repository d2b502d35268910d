"""metarl.evaluate: scores of parameters that no run directory holds."""

from typing import Any

import numpy as np
import pytest
from bowl import Bowl

import metarl
from metarl.engine.rules.sgd import SGD
from metarl.randomness import Purpose


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
