"""Anybody's spaces as policies see them, and actions back in the environment's own units."""

from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Tuple, flatten

from metarl.envs import ENVIRONMENTS, LoopVectorEnv
from metarl.envs.adapters.conversion import flat_observation, policy_actions, policy_observations

SPACES = [
    Box(0, 255, (4, 5, 3), np.uint8),
    Discrete(3, start=2),
    MultiDiscrete([2, 3]),
    Dict({"place": Discrete(2), "speed": Box(-1, 1, (2, 2))}),
    Tuple((Box(0, 1, (3,)), MultiBinary(2))),
]


class Anything(gymnasium.Env):
    """Shows samples of a space and takes actions of another; pays what it is given."""

    def __init__(self, seen: Any = None, taken: Any = None) -> None:
        self.observation_space, self.action_space = seen or Box(0, 1, (1,)), taken or Box(-2.0, 2.0, (1,))
        self.taken: list[Any] = []

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Any:
        return rng.normal(size=(n, 2))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.observation_space.seed(seed)
        self.shown = self.observation_space.sample()
        return self.shown, {}

    def step(self, action: Any) -> Any:
        self.taken.append(action)
        assert self.action_space.contains(action), action
        self.shown = self.observation_space.sample()
        return self.shown, 1.0, False, False, {}


gymnasium.register("Anything-v0", entry_point=f"{__name__}:Anything", disable_env_checker=True)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_observations_are_flattened_as_gymnasium_does(space: Any) -> None:
    env = LoopVectorEnv(lambda: Anything(space), 2, task_in_observation=True)
    seen, _ = env.reset(seed=1)
    single = cast(Any, env._group).envs
    flat: Any = [flatten(space, one.shown) for one in single]
    expected = [np.concatenate([values, row]) for values, row in zip(flat, env.tasks, strict=True)]
    np.testing.assert_array_equal(seen, expected)
    assert env.observation_space.shape == seen.shape
    assert policy_observations(space).shape == flat_observation(space, single[0].shown).shape


@pytest.mark.parametrize(
    ("space", "given", "right"),
    [
        (Discrete(3, start=2), np.array([2, 4]), [2, 4]),
        (MultiDiscrete([2, 3]), np.array([[1, 2], [0, 0]]), [[1, 2], [0, 0]]),
        (MultiBinary(2), np.array([[1, 0], [0, 1]], np.int8), [[1, 0], [0, 1]]),
        (Box(-2.0, 2.0, (2,)), np.array([[-1.0, 0.5], [9.0, 0.0]]), [[-2, 1], [2, 0]]),
        (Box(0.0, 4.0, (2, 1)), np.array([[-1.0, 0.5], [9.0, 0.0]]), [[[0], [3]], [[4], [2]]]),
        (Box(0, 10, (2,), np.int64), np.array([[-1.0, 0.5], [0.21, 1.0]]), [[0, 8], [6, 10]]),
        (Box(-128, 127, (2,), np.int8), np.array([[-1.0, -0.5], [0.5, 1.0]]), [[-128, -64], [63, 127]]),
        (
            Box(-(2**63), 2**63 - 1, (2,), np.int64),
            np.array([[-1.0, 0.0], [0.5, 1.0]]),
            [[-(2**63), 0], [2**62, 2**63 - 1]],
        ),
        (Box(-60000, 60000, (2,), np.float16), np.array([[-1.0, 0.0], [0.5, 1.0]]), [[-60000, 0], [30000, 60000]]),
        (Box(-2.0, 2.0, ()), np.array([[0.5], [-3.0]]), [1, -2]),
    ],
    ids=repr,
)
def test_actions_arrive_in_the_environments_units(space: Any, given: Any, right: Any) -> None:
    env = LoopVectorEnv(lambda: Anything(taken=space), 2)
    env.reset(seed=0)
    env.step(given)
    np.testing.assert_array_equal([one.taken[0] for one in cast(Any, env._group).envs], right)
    with pytest.raises(ValueError, match="actions must have shape"):
        env.step(given[:1])


def test_a_part_translates_for_whoever_acts_in_one_environment() -> None:
    part: Any = ENVIRONMENTS.find("Anything-v0")()
    np.testing.assert_array_equal(part.own_actions(np.array([[0.5], [3.0]], np.float32)), [[1.0], [2.0]])
    assert part.own_actions(np.array([0.5], np.float32)).dtype == np.float32
    np.testing.assert_array_equal(part.flat(np.array([0.25])), [0.25])
    navigation: Any = ENVIRONMENTS.find("metarl/Navigation2D-v0")()
    np.testing.assert_array_equal(navigation.own_actions(np.array([0.5, -3.0])), [0.5, -1.0])
    np.testing.assert_array_equal(
        flat_observation(Box(0, 9, (2, 2)), np.arange(8).reshape(2, 2, 2)), [[0, 1, 2, 3], [4, 5, 6, 7]]
    )


def test_parts_of_an_observation_that_are_missing() -> None:
    space = Dict({"place": Box(-1, 1, (2,)), "door": Discrete(3)})
    np.testing.assert_array_equal(flat_observation(space, {"door": 1, "place": [0.5, 0], "more": 3}), [0, 1, 0, 0.5, 0])
    with pytest.raises(LookupError, match=r"^it has no part 'door'$"):
        flat_observation(space, {"place": [0.5, 0]})


def test_spaces_that_cannot_be_served() -> None:
    with pytest.raises(ValueError, match="of a space that Gymnasium flattens to one; got Graph"):
        policy_observations(Graph(Box(0, 1, (1,)), None))
    with pytest.raises(ValueError, match=r"must be a bounded vector .*; got Box"):
        policy_actions(Box(0, np.inf, (1,)))
    with pytest.raises(ValueError, match=r"or discrete .*; got Dict"):
        policy_actions(Dict({}))


def test_environments_of_several_ranges_are_refused() -> None:
    """The range of the first was taken for all."""
    ranges = iter([1.0, 1.0, 2.0])
    with pytest.raises(ValueError, match=r"must have one space of actions; got Box\(-1.0, 1.0.* and Box\(-2.0, 2.0"):
        LoopVectorEnv(lambda: Anything(taken=Box(-(high := next(ranges)), high, (1,))), 3)
