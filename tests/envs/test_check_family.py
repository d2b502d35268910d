"""`check_family` finds what is wrong: families that are broken in one way each."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from examples.line import Line
from gymnasium.spaces import Box

from metarl.envs import check_family
from metarl.envs.conformance import CHECKS
from metarl.envs.tasks import Uniform


class Forgetful(Line):
    def initial_state(self, tasks: Any, rngs: Any) -> Any:
        return np.random.default_rng().normal(size=(len(tasks), 2))  # not from the generators that it is given


class Crowded(Line):
    def transition(self, states: Any, actions: Any, tasks: Any) -> Any:
        return super().transition(states, actions, tasks) + 1e-9 * len(states)


class Narrow(Line):
    @property
    def action_space(self) -> Box:
        return Box(-2.0, 2.0, (1,), np.float64)


class OutOfSight(Line):
    @property
    def observation_space(self) -> Box:
        return Box(5.0, 6.0, (2,), np.float64)


class Misread(Line):
    def achieved(self, states: Any, tasks: Any) -> Any:
        return np.abs(states - tasks)


class Wordless(Line):
    def reward_terms(self, states: Any, actions: Any, next_states: Any, tasks: Any) -> Any:
        return {}


class Single(Line):
    tasks = Uniform(("place [m]",), (0.5,), (0.5,))


class Impossible(Line):
    tasks = Uniform(("place [m]",), (-1.0,), (1.0,), positive=True)


class Restless(Uniform):
    def sample(self, rng: Any, n: int, split: Any = "train") -> Any:
        return np.random.default_rng().uniform(-1, 1, (n, 1))


class Unkeyed(Line):
    tasks = Restless(("place [m]",), (-1.0,), (1.0,))


@dataclass(frozen=True, kw_only=True)
class Mutable(Line):
    """Its formulas write into the states."""

    def observe(self, states: Any, tasks: Any) -> Any:
        states += 1e-3
        return states.copy()


class InPlace(Line):
    def transition(self, states: Any, actions: Any, tasks: Any) -> Any:
        states[:] = super().transition(states, actions, tasks)
        return states


class Scalar(Line):
    def reward_terms(self, states: Any, actions: Any, next_states: Any, tasks: Any) -> Any:
        return {"nothing": 0.0}


class Listed(Line):
    def initial_state(self, tasks: Any, rngs: Any) -> Any:
        return [[0.0, 0.0] for _ in rngs]


class Unnamed(Line):
    def reward_terms(self, states: Any, actions: Any, next_states: Any, tasks: Any) -> Any:
        return np.zeros(len(states))


class Endless(Line):
    def terminated(self, states: Any, tasks: Any) -> Any:
        return False


class Aimless(Line):
    tasks: Any = None


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (Forgetful, "equal seeds must give equal"),
        (Crowded, "must be the same alone as among"),
        (Narrow, "actions must be Box"),
        (OutOfSight, "observations must be in"),
        (Misread, r"term distance of reward_terms must be an array \[n\] of float64; got float64 \(5, 2\)"),
        (InPlace, "transition must not write into its arguments"),
        (Scalar, r"term nothing of reward_terms must be an array \[n\] of float64; got 0\.0"),
        (Listed, r"initial_state must be an array \[n, S\]; got \[\[0\.0"),
        (Unnamed, r"reward_terms must be a dict of arrays \[n\] by name; got float64 \(5,\)"),
        (Endless, r"terminated must be an array \[n\] of bool; got False"),
        (Aimless, "tasks must be of the class TaskDistribution; got None"),
        (Wordless, "at least one term"),
        (Single, "tasks of the split train must differ"),
        (Impossible, "must be valid"),
        (Unkeyed, "equal generators must draw equal tasks"),
        (Mutable, "observe must not write into its arguments"),
    ],
)
def test_what_is_broken_is_found(family: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_family(family())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("_ends", "an ended environment must repeat its last observation"),
        ("_resets", "a masked reset must leave the other environments as they were"),
    ],
)
def test_environments_of_formulas_that_write_into_states_are_found_by_what_they_do(name: str, message: str) -> None:
    """`check_family` itself looks at the formulas first, and ends there."""
    (check,) = [check for check in CHECKS if check.__name__ == name]
    with pytest.raises(ValueError, match=message):
        check(Mutable())


def test_what_is_no_family() -> None:
    with pytest.raises(ValueError, match=r"family must be of the class TaskFamily; got <class .*: make one, Line\(\)"):
        check_family(Line)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="family must be of the class TaskFamily; got 'metarl/Navigation2D-v0'"):
        check_family("metarl/Navigation2D-v0")  # pyright: ignore[reportArgumentType]


def test_the_example_keeps_the_contract() -> None:
    check_family(Line())
