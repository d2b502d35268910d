"""What users' vector environments return: arrays, or what can be made arrays without a doubt, and nothing else."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from small_environments import Levers, Target

import metarl
from metarl.rl.contract import check_vector
from metarl.rl.vector_results import VectorResults

N = 3


class Odd(Target):
    """Returns something else in the place of one result."""

    def __init__(self, num_envs: int, place: int, odd: Callable[[Any], Any]) -> None:
        super().__init__(num_envs)
        self.place = place
        self.odd = odd

    def step(self, actions: Any) -> Any:
        results: list[Any] = list(super().step(actions))
        results[self.place] = self.odd(results[self.place])
        return tuple(results)


def stepped(place: int, odd: Callable[[Any], Any]) -> Any:
    results = VectorResults(Odd(N, place, odd))
    results.reset([1] * N, {"tasks": np.full((N, 1), 0.5)})
    return results.step(np.zeros((N, 1)))


SERVED = {
    "lists of observations": (0, lambda seen: seen.tolist()),
    "a tuple of observations": (0, tuple),
    "observations of torch": (0, torch.as_tensor),
    "a list of rewards": (1, list),
    "rewards of torch": (1, torch.as_tensor),
    "whole numbers for truths": (2, lambda ended: ended.astype(int)),
    "numbers for truths": (3, lambda ended: ended.astype(float)),
    "truths of torch": (2, torch.as_tensor),
    "a list of truths": (2, list),
    "one number for all": (4, lambda info: {"diverged": False}),
    "an info of anything": (4, lambda info: info | {1: 2, None: "x", "picture": np.zeros((99, 99))}),
}


@pytest.mark.parametrize("case", SERVED)
def test_what_is_right_in_another_form(case: str) -> None:
    expected = stepped(0, lambda seen: seen)
    got = stepped(*SERVED[case])
    for ours, theirs in zip(got[:3], expected[:3], strict=True):
        assert isinstance(ours, np.ndarray)
        np.testing.assert_array_equal(ours, theirs)
    assert got.ended.dtype == np.bool_
    assert {name: values.tolist() for name, values in got.info.items()} == {"diverged": [False] * N}


def test_who_has_achieved_something_is_read_as_gymnasium_says_it() -> None:
    """Its vector environments say 0 where an environment says nothing, which was taken for what was achieved."""
    said = {"achieved": np.array([0.5, 0.0, 0.0]), "_achieved": np.array([True, False, True])}
    np.testing.assert_array_equal(stepped(4, lambda info: said).info["achieved"], [0.5, np.nan, 0.0])
    assert set(stepped(4, lambda info: said).info) == {"achieved"}


REFUSED = {
    "one reward": (1, lambda rewards: 1.0, "rewards must be 3 numbers, one for each environment; got 1.0"),
    "too few rewards": (1, lambda rewards: rewards[:1], r"rewards must be 3 numbers.*; got array\(\[-0.25\]\)"),
    "a column of rewards": (1, lambda rewards: rewards[:, None], r"rewards must be 3 .*; got float64 \(3, 1\)"),
    "no rewards": (1, lambda rewards: None, "rewards must be 3 numbers.*; got None"),
    "words": (1, lambda rewards: ["a"] * N, r"rewards must be 3 numbers.*; got \['a', 'a', 'a'\]"),
    "uneven": (1, lambda rewards: [1.0, [2.0, 3.0], 4.0], "rewards must be 3 numbers"),
    "one truth": (2, lambda ended: False, "terminated must be 3 truth values; got False"),
    "no truth": (3, lambda ended: None, "truncated must be 3 truth values; got None"),
    "a column of truths": (2, lambda ended: ended[:, None], r"terminated must be 3 truth values; got bool \(3, 1\)"),
    "half true": (2, lambda ended: [0.5] * N, r"terminated must be 3 truth values; got \[0.5, 0.5, 0.5\]"),
    "flat": (0, lambda seen: seen[:, 0], r"observations must be 3 of Box.* \(\(3,\) in place of \(3, 2\)\)"),
    "wide": (0, lambda seen: np.hstack([seen, seen]), r"observations must be .* \(\(3, 4\) in place of \(3, 2\)\)"),
    "few": (0, lambda seen: seen[:1], r"observations must be .* \(\(1, 2\) in place of \(3, 2\)\)"),
    "none": (0, lambda seen: None, r"observations must be 3 of Box.*; got None"),
    "no info": (4, lambda info: None, r"step must return \(observations, .*, info\); got an info of the type NoneType"),
    "achieved": (4, lambda info: {"achieved": np.ones((N, 1))}, r"info\['achieved'\] must be 3 numbers"),
    "who achieved": (
        4,
        lambda info: {"achieved": np.ones(N), "_achieved": "all"},
        r"info\['_achieved'\] must be 3 truth",
    ),
    "a term": (4, lambda info: {"reward/x": [None] * N}, r"info\['reward/x'\] must be 3 numbers"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_be_meant_or_not(case: str) -> None:
    """Most of these broadcast in silence, or ended in a traceback without a line of the environment's."""
    place, odd, words = REFUSED[case]
    with pytest.raises(ValueError, match=rf"Odd.*: {words}"):
        stepped(place, odd)


def test_spaces_of_several_parts() -> None:
    results = VectorResults(Levers(N))
    assert results.reset([1] * N, {"tasks": np.ones((N, 1))}).shape == (N, 3)

    class Missing(Levers):
        def seen(self) -> Any:
            return {"place": np.ones(N, np.int64)}

    class Beyond(Levers):
        def seen(self) -> Any:
            return super().seen() | {"place": np.full(N, 2)}

    class Before(Levers):
        """NumPy would take the last one."""

        def seen(self) -> Any:
            return super().seen() | {"place": np.full(N, -1)}

    class Compensating(Levers):
        """One number less here and one more there."""

        single_observation_space = Dict({"place": Box(0, 1, (2,)), "time": Box(0, 1, (1,))})

        def seen(self) -> Any:
            return {"place": np.ones((N, 1)), "time": np.ones((N, 2))}

    class Transposed(Levers):
        single_observation_space = Dict({"place": Box(0, 1, (2, 3))})

        def seen(self) -> Any:
            return {"place": np.ones((N, 3, 2))}

    for kind in (Missing, Beyond, Before, Compensating, Transposed):
        with pytest.raises(ValueError, match=r"observations must be 3 of Dict\(.*; got .*'place'"):
            VectorResults(kind(N)).reset([1] * N, {"tasks": np.ones((N, 1))})


def test_results_of_another_number_and_parameters_of_another_name() -> None:
    class Four(Target):
        def step(self, actions: Any) -> Any:
            return super().step(actions)[:4]

    class Bare(Target):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return super().reset(seed=seed, options=options)[0]

    class Without(Target):
        def reset(self, *, seed: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().reset(seed=seed, options={"tasks": np.zeros((2, 1))})

    class Mistaken(Target):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return self.begin(seed=seed)  # pyright: ignore[reportCallIssue]

        def begin(self) -> None: ...

    for kind, words in (
        (Four, "step must return"),
        (Bare, r"reset must return \(observations, info\)"),
        (Without, r"its method must be reset\(self, \*, seed=None, options=None\): .*'options'"),
    ):
        with pytest.raises(ValueError, match=words):
            metarl.check_environment(kind(2))
    with pytest.raises(TypeError, match="begin"):  # the user's own mistake, with its traceback
        metarl.check_environment(Mistaken(2))


def test_spaces_must_be_there() -> None:
    class Blind(Target):
        single_observation_space = None  # pyright: ignore[reportAssignmentType]

    with pytest.raises(ValueError, match=r"single_observation_space must be one of gymnasium.spaces.*; got None"):
        metarl.check_environment(Blind(2))


class Mixed(Target):
    """Gives rows to other environments than those they are meant for, and keeps no `tasks`."""

    def __init__(self, num_envs: int, mix: Callable[[Any], Any]) -> None:
        super().__init__(num_envs)
        self.mix = mix

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        result = super().reset(seed=seed, options={"tasks": self.mix((options or {})["tasks"])})
        self.own = vars(self).pop("tasks")
        return result

    def paid(self, actions: Any) -> Any:
        self.tasks = self.own
        result = super().paid(actions)
        del self.tasks
        return result


@pytest.mark.parametrize("n", [2, 3])
def test_row_i_goes_to_environment_i(n: int) -> None:
    assert check_vector(Mixed(n, lambda tasks: tasks)) == []
    for mix in (lambda tasks: np.sort(tasks, 0), lambda tasks: -np.sort(-tasks, 0)):
        with pytest.raises(ValueError, match=r"drops tasks|mixes tasks up"):
            metarl.check_environment(Mixed(n, mix))
    with pytest.raises(ValueError, match=f"mixes tasks up: environment {n - 1} plays the task of environment 0"):
        metarl.check_environment(Mixed(n, lambda tasks: np.repeat(tasks[:1], n, 0)))
