"""What users' single environments return: numbers and truth values in any form, and nothing that looks like one."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from examples.pendulum import GravityPendulum
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Tuple
from gymnasium.wrappers import TimeLimit

import metarl
from metarl.envs import LoopVectorEnv
from metarl.envs.adapters.block import ContractError

TRUTHS = {
    "true": True,
    "NumPy's": np.bool_(True),
    "one": 1,
    "an array": np.array([1]),
    "torch's": torch.tensor(True),
}


class Odd(GravityPendulum):
    """Returns something else in the place of one result; of an info, beside what it says."""

    def __init__(self, place: int, odd: Any) -> None:
        super().__init__()
        self.place = place
        self.odd = odd

    def step(self, u: Any) -> Any:
        results: list[Any] = list(super().step(u))
        results[self.place] = self.odd(results[self.place]) if callable(self.odd) else self.odd
        return tuple(results)


def played(place: int, odd: Any) -> Any:
    env = LoopVectorEnv(lambda: Odd(place, odd), 1)
    env.reset(seed=1, options={"tasks": [[9.0]]})
    return env.step(np.zeros((1, 1)))


@pytest.mark.parametrize("case", TRUTHS)
def test_truth_values_in_any_form(case: str) -> None:
    truth = TRUTHS[case]
    assert played(2, truth)[2].tolist() == [True]
    assert played(3, truth)[3].tolist() == [True]
    assert played(4, {"success": truth})[4]["success"].tolist() == [True]


@pytest.mark.parametrize("odd", ["False", None, float("nan"), {"a": 1}, np.array([True, False]), 0.5, []])
def test_what_python_takes_for_a_truth_value_and_nobody_else_does(odd: Any) -> None:
    for place, name in ((2, "terminated"), (3, "truncated")):
        with pytest.raises(ContractError, match=f"{name} must be True or False; got"):
            played(place, odd)
    with pytest.raises(ContractError, match=r"info\['success'\] must be True or False; got"):
        played(4, {"success": odd})


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.array([2.0]), torch.tensor([2.0]), np.array(2)])
def test_numbers_in_any_form(number: Any) -> None:
    assert played(1, lambda reward: number)[1].tolist() == [2.0]
    assert played(4, {"reward/x": number, "achieved": number})[4]["reward/x"].tolist() == [2.0]


@pytest.mark.parametrize(
    "odd", [None, "1", 1j, 10**400, np.ones(2), torch.ones(1, requires_grad=True), {}, np.ma.masked]
)
def test_what_is_no_number(odd: Any) -> None:
    with pytest.raises(ContractError, match="its reward must be a number; got"):
        played(1, lambda reward: odd)
    for name in ("achieved", "reward/x"):
        with pytest.raises(ContractError, match=rf"info\['{name}'\] must be a number; got"):
            played(4, {name: odd})


def test_an_info_may_say_anything() -> None:
    said = played(4, {1: 2, ("a", "b"): 3, None: 4, "image": np.zeros((500, 500)), "achieved": 1.0})[4]
    assert set(said) == {"diverged", "achieved"}


@pytest.mark.parametrize(
    "odd",
    [None, "abc", ["a", "b", "c"], [None, 0.0, 0.0], {"x": 1}, np.zeros(4), np.zeros((3, 1)), np.zeros(3, complex)],
)
def test_what_is_no_observation(odd: Any) -> None:
    """NumPy makes nan of None, which was a broken episode and no word about why."""
    with pytest.raises(ContractError, match=r"observations must be of Box\(.*\); got"):
        played(0, lambda seen: odd)


class Shown(GravityPendulum):
    def __init__(self, space: Any, seen: Any) -> None:
        super().__init__()
        self.observation_space = space
        self.seen = seen

    def _get_obs(self) -> Any:
        return self.seen


@pytest.mark.parametrize(
    ("space", "odd"),
    [
        (Discrete(7, start=-3), np.int64(4)),
        (Discrete(7, start=-3), -4),
        (Dict({"a": MultiDiscrete([2, 3])}), {"a": np.array([0, -1])}),
        (Tuple([Box(-1, 1, (2,)), Discrete(2)]), (np.zeros(2), -1)),
        (Discrete(3), 1.5),
        (Dict({"a": Box(-1, 1, (2,)), "b": Discrete(3)}), {"a": np.zeros(2)}),
        (Dict({"a": Box(-1, 1, (2,)), "b": Discrete(3)}), np.zeros(3)),
        (Box(-1, 1, (2, 3)), np.zeros((3, 2))),
        (Dict({"a": Box(-1, 1, (2,)), "b": Box(-1, 1, (2,))}), {"a": np.zeros(3), "b": np.zeros(1)}),
        (Box(-1, 1, (2,)), np.ma.array([0.0, 1.0], mask=[True, False])),
    ],
)
def test_what_is_outside_its_space(space: Any, odd: Any) -> None:
    with pytest.raises(ContractError, match=rf"observations must be of {type(space).__name__}\(.*; got"):
        metarl.check_environment(Shown(space, odd))


@pytest.mark.parametrize(
    ("space", "seen"),
    [
        (Box(-1, 1, (2, 3)), np.zeros(6)),
        (Box(-1, 1, (1, 2)), np.zeros(2)),
        (Dict({"a": Box(-1, 1, (1,)), "b": Box(-1, 1, (2, 1))}), {"a": 0.5, "b": np.zeros((1, 2))}),
    ],
)
def test_shapes_that_leave_no_doubt(space: Any, seen: Any) -> None:
    metarl.check_environment(Shown(space, seen))


def test_an_observation_that_is_changed_in_place_is_copied() -> None:
    class InPlace(GravityPendulum):
        def _get_obs(self) -> Any:
            kept = vars(self).setdefault("kept", np.zeros(3, np.float32))
            kept[:] = super()._get_obs()
            return kept

    env, other = LoopVectorEnv(InPlace, 1), LoopVectorEnv(GravityPendulum, 1)
    first, _ = env.reset(seed=1)
    other.reset(seed=1)
    before = first.copy()
    seen = env.step(np.ones((1, 1)))[0]
    np.testing.assert_array_equal(seen, other.step(np.ones((1, 1)))[0])
    np.testing.assert_array_equal(first, before)


def test_parameters_of_reset() -> None:
    class Old(GravityPendulum):
        def reset(self) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
            return super().reset()

    class Mistaken(GravityPendulum):
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            return self.begin(seed=seed)  # pyright: ignore[reportCallIssue]

        def begin(self) -> None: ...

    for env in (Old(), TimeLimit(Old(), 9)):
        with pytest.raises(ContractError, match=r"must be reset\(self, \*, seed=None, options=None\): .*'seed'"):
            metarl.check_environment(env)
    with pytest.raises(TypeError, match="begin"):  # the user's own mistake, with its traceback
        metarl.check_environment(Mistaken())


@pytest.mark.parametrize("made", [None, 3, "an id", GravityPendulum, gymnasium.vector.SyncVectorEnv([GravityPendulum])])
def test_what_is_not_one_environment(made: Any) -> None:
    for instances in (0, 1):
        with pytest.raises(ValueError, match=r"must be one gymnasium.Env, and no vector environment; got"):
            LoopVectorEnv(lambda: made, 1, instances=instances)


@pytest.mark.parametrize(
    ("name", "space", "words"),
    [
        ("action_space", None, "action_space must be one of gymnasium.spaces, such as a Box; got None"),
        ("observation_space", (3,), r"observation_space must be one of gymnasium.spaces, such as a Box; got \(3,\)"),
        ("action_space", Box(-1, 1, (0,)), r"actions must be a bounded vector"),
        ("observation_space", Box(-1, 1, (0,)), "observations must be a vector .Box. of at least one number"),
    ],
)
def test_spaces_must_be_there(name: str, space: Any, words: str) -> None:
    env = GravityPendulum()
    setattr(env, name, space)
    with pytest.raises(ValueError, match=words):
        metarl.check_environment(env)


def test_what_pays_late_is_counted() -> None:
    """A term of the reward that is named from the second timestep on."""
    from metarl.rl.episode_progress import Progress

    progress = Progress(2, 3)
    for t in range(3):
        progress.record(t, np.ones(2), {} if t == 0 else {"reward/late": np.array([1.0, 2.0])})
    assert progress.reward_terms["late"].tolist() == [2.0, 4.0]


def test_a_close_that_fails_leaves_no_other_environment_open() -> None:
    closed: list[int] = []

    class Closing(GravityPendulum):
        def __init__(self) -> None:
            super().__init__()
            self.number = len(made)
            made.append(self)

        def close(self) -> None:
            closed.append(self.number)
            if self.number == 0:
                raise ValueError("cannot close")

    made: list[Closing] = []
    with pytest.raises(ValueError, match="cannot close"):
        LoopVectorEnv(Closing, 3).close()
    assert closed == [0, 1, 2]
