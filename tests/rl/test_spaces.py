from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Space, Text, Tuple, flatten
from gymnasium.vector.utils import batch_space, iterate

from metarl.rl.spaces import action_size, categories, environment_actions, flat_observations, observation_size

OBSERVATIONS = {
    "vector": Box(-1, 1, (3,), np.float64),
    "image": Box(0, 255, (4, 5, 3), np.uint8),
    "number": Discrete(4, start=-1),
    "numbers": MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[1, 0], [-2, 0]])),
    "bits": MultiBinary((2, 2)),
    "dict": Dict({"b": Box(-1, 1, (2, 2)), "a": Discrete(3), "c": Dict({"d": MultiBinary(2)})}),
    "tuple": Tuple((Discrete(2), Box(-1, 1, (2,)))),
}


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations_are_flattened_as_gymnasium_does(name: str) -> None:
    space = OBSERVATIONS[name]
    batch = batch_space(space, 6)
    batch.seed(0)
    observations = batch.sample()
    flat = flat_observations(space)(observations)
    expected = np.stack([np.asarray(flatten(space, one)) for one in iterate(batch, observations)])
    np.testing.assert_array_equal(flat, expected)
    assert flat.shape == (6, observation_size(space))


@pytest.mark.parametrize("space", [Text(5), Graph(Discrete(2), None), Dict({"a": Box(0, 1, (2,)), "b": Text(3)})])
def test_observations_without_a_fixed_length_are_refused(space: Space) -> None:
    with pytest.raises(ValueError, match=r"a space that can be made a vector \(Box, Dict, .*\); got "):
        flat_observations(space)


@pytest.mark.parametrize(
    ("space", "size", "counts", "chosen", "expected"),
    [
        (Box(-1, 1, (2,)), 2, None, [[0.5, -3.0]], [[0.5, -3.0]]),
        (Discrete(3), 1, (3,), [[0.0], [2.0]], [0, 2]),
        (Discrete(3, start=5), 1, (3,), [[0.0], [2.0]], [5, 7]),
        (MultiDiscrete([2, 4]), 2, (2, 4), [[1.0, 3.0]], [[1, 3]]),
        (MultiDiscrete(np.array([[2], [4]]), start=np.array([[10], [20]])), 2, (2, 4), [[1.0, 3.0]], [[[11], [23]]]),
        (MultiBinary(3), 3, (2, 2, 2), [[0.0, 1.0, 1.0]], [[0, 1, 1]]),
    ],
)
def test_actions_reach_the_environment_in_its_own_form(
    space: Space, size: int, counts: tuple[int, ...] | None, chosen: Any, expected: Any
) -> None:
    assert (action_size(space), categories(space)) == (size, counts)
    actions = environment_actions(space)(np.array(chosen, np.float32))
    np.testing.assert_array_equal(actions, expected)
    if counts is not None:
        assert all(space.contains(one) for one in actions)
        assert actions.dtype == space.dtype


@pytest.mark.parametrize("space", [Text(5), Box(-1, 1, (2, 2)), Dict({"a": Discrete(2)})])
def test_other_actions_are_refused(space: Space) -> None:
    with pytest.raises(ValueError, match=r"actions must be vectors .* or discrete"):
        action_size(space)
