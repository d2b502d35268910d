"""The tasks of every family: what is drawn, from where to where, and what else a task may be."""

import itertools
from typing import Any

import numpy as np
import pytest

from metarl.envs import ENVIRONMENTS, make_family
from metarl.envs.tasks import Joint, Sign, Uniform

DRAWN = 20_000
CORNERS = "metarl/SparseCorner"
RANGES: dict[str, tuple[list[float], list[float]]] = {  # of every family whose tasks are uniform
    "metarl/Navigation2D": ([-0.5, -0.5], [0.5, 0.5]),
    "metarl/HalfCircle": ([0.0], [np.pi]),
    "metarl/HalfCheetahVel": ([0.0], [2.0]),
    "metarl/HalfCheetahMass": ([0.5] * 7, [1.5] * 7),
    "metarl/Walker2DVel": ([0.0], [10.0]),
    "metarl/AntVel": ([0.0], [3.0]),
    "metarl/AntGoal": ([-3.0, -3.0], [3.0, 3.0]),
}
# families whose tasks are log-uniform: how many factors, and how many of them are of damping, before those of friction
FACTORS = {"metarl/Walker2DParams": (42, 6, 8), "metarl/HopperParams": (24, 3, 5)}
OURS = [name for name in ENVIRONMENTS.names if name.startswith("metarl/")]


@pytest.fixture(params=OURS)
def environment_id(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_tasks_fill_their_ranges_evenly(environment_id: str, split: Any) -> None:
    tasks = make_family(environment_id).tasks
    rows = tasks.sample(np.random.default_rng(0), DRAWN, split)
    if environment_id.split("-")[0] in FACTORS:
        size, damping, friction = FACTORS[environment_id.split("-")[0]]
        bases = np.array([1.5] * (size - damping - friction) + [1.3] * damping + [1.5] * friction)
        exponents = np.log(rows) / np.log(bases)
        require_even(exponents, np.full(size, -3.0), np.full(size, 3.0))
        return
    if environment_id.split("-")[0] not in RANGES:
        size = 2 if environment_id.startswith(CORNERS) else 1
        signs, counts = np.unique(rows, axis=0, return_counts=True)
        np.testing.assert_array_equal(signs, size * np.array(list(itertools.product([-1, 1], repeat=size))))
        np.testing.assert_allclose(counts, DRAWN / 2**size, rtol=0.1)
        assert rows.mean() == pytest.approx(0, abs=0.03)
        return
    require_even(rows, *map(np.array, RANGES[environment_id.split("-")[0]]))


def require_even(rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Every column fills its range evenly, whatever the others are."""
    share = (rows - low) / (high - low)
    assert (share >= -1e-12).all()
    assert (share <= 1 + 1e-12).all()
    for column in share.T:
        counts, _ = np.histogram(column, bins=10, range=(0, 1))
        np.testing.assert_allclose(counts, DRAWN / 10, rtol=0.1)
    off_diagonal = np.corrcoef(rows.T) - np.eye(len(low)) if len(low) > 1 else np.zeros(1)
    assert np.abs(off_diagonal).max() < 0.03


def test_tasks_are_drawn_in_the_order_of_the_generator(environment_id: str) -> None:
    tasks, rng = make_family(environment_id).tasks, np.random.default_rng(5)
    # an even number first, because directions are drawn in pairs
    apart = np.concatenate([tasks.sample(rng, 4), tasks.sample(rng, 3)])
    np.testing.assert_array_equal(apart, tasks.sample(np.random.default_rng(5), 7))


def test_directions_come_in_pairs_of_both_in_random_order() -> None:
    rows = make_family("metarl/HalfCheetahDir-v0").tasks.sample(np.random.default_rng(5), 201)
    assert set(rows.ravel()) == {-1.0, 1.0}
    pairs = rows[:200].reshape(100, 2)
    np.testing.assert_array_equal(pairs.sum(axis=1), 0)
    assert 30 < (pairs[:, 0] > 0).sum() < 70


def test_what_is_in_the_distribution_and_what_else_a_task_may_be() -> None:
    velocity = make_family("metarl/HalfCheetahVel-v0")
    rows = np.array([[0.0], [2.0], [3.0], [-1.0], [np.nan], [np.inf]])
    np.testing.assert_array_equal(velocity.tasks.in_distribution(rows), [True, True, False, False, False, False])
    np.testing.assert_array_equal(velocity.tasks.valid(rows), [True, True, True, True, False, False])
    env = velocity.build(1, horizon=5)
    env.reset(seed=0, options={"tasks": [[3.0]]})
    _, _, _, _, info = env.step(np.zeros((1, 6)))
    assert info["reward/goal"][0] == pytest.approx(-abs(info["achieved"][0] - 3.0))
    direction = make_family("metarl/HalfCheetahDir-v0").tasks
    np.testing.assert_array_equal(direction.valid(np.array([[1.0], [-1.0], [0.5]])), [True, True, False])
    masses = make_family("metarl/HalfCheetahMass-v0").tasks
    rows = np.ones((4, 7)) * [[1.0], [2.0], [0.0], [-1.0]]
    np.testing.assert_array_equal(masses.valid(rows), [True, True, False, False])
    np.testing.assert_array_equal(masses.in_distribution(rows), [True, False, False, False])
    with pytest.raises(ValueError, match=r"a task \(mass of torso \[x\], .*\) must be positive numbers; got \[0. 0."):
        make_family("metarl/HalfCheetahMass-v0").build(1, horizon=5).reset(options={"tasks": np.zeros((1, 7))})


def test_distributions_side_by_side() -> None:
    joint = Joint((Sign("direction"), Uniform(("mass",), (1.0,), (2.0,), positive=True)))
    assert joint.names == ("direction", "mass")
    assert joint.must_be == "1 or -1, then positive numbers"
    rows = joint.sample(np.random.default_rng(0), 200)
    assert set(rows[:, 0]) == {-1.0, 1.0}
    assert ((rows[:, 1] >= 1) & (rows[:, 1] <= 2)).all()
    rows = np.array([[1.0, 1.5], [1.0, 3.0], [0.5, 1.5], [-1.0, -1.0]])
    np.testing.assert_array_equal(joint.valid(rows), [True, True, False, False])
    np.testing.assert_array_equal(joint.in_distribution(rows), [True, False, False, False])
