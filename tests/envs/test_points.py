"""The sparse points against formulas written once more, and how all points are drawn."""

from typing import Any

import numpy as np
import pytest

from metarl.envs import Navigation2D, TaskVectorEnv
from metarl.envs.half_circle import HalfCircle
from metarl.envs.sparse_corner import SparseCorner

CORNERS = [np.array(corner) for corner in ((-2, -2), (2, -2), (-2, 2), (2, 2))]
N = 400


def moves(family: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Places, actions, places after them, and tasks; the places fill what the episodes can reach."""
    rng = np.random.default_rng(0)
    tasks = family.tasks.sample(rng, N)
    before, actions = rng.uniform(-3, 3, (N, 2)), rng.uniform(-1, 1, (N, 2))
    before[: N // 2] /= 6
    return before, actions, family.transition(before, actions, tasks), tasks


def test_corners_reward_moves_towards_the_right_one_alone() -> None:
    """The rule of the source, corner by corner: which is nearest is told by the distances to all four."""
    before, actions, after, tasks = moves(SparseCorner())
    np.testing.assert_allclose(after, before + 0.2 * actions)
    expected = []
    for old, new, goal in zip(before, after, tasks, strict=True):
        nearest = min(CORNERS, key=lambda corner: np.linalg.norm(new - corner))
        told = abs(new[0]) + abs(new[1]) >= 0.5 and np.array_equal(nearest, goal)
        expected.append(np.linalg.norm(old - goal) - np.linalg.norm(new - goal) if told else 0.0)
    (rewards,) = SparseCorner().reward_terms(before, actions, after, tasks).values()
    np.testing.assert_allclose(rewards, expected, atol=1e-12)
    assert 50 < (np.array(expected) != 0).sum() < N / 3
    assert (np.array(expected) < 0).any()


def test_a_walk_to_the_corner_has_its_length_and_hops_over_the_border_have_more() -> None:
    """As the rule of the source has it: to leave the goal's quadrant costs nothing, and to come back is progress."""
    goal = np.array([[2.0, 2.0]])

    def reward(*places: tuple[float, float]) -> float:
        path = np.array(places)
        pairs = zip(path[:-1, None], path[1:, None], strict=True)
        return sum(float(SparseCorner().reward_terms(old, old, new, goal)["progress"][0]) for old, new in pairs)

    walk = reward(*((x, x) for x in np.linspace(0.0, 2.0, 21)))
    # The first moves, within 0.5 m by |x| + |y|, are not told.
    assert walk == pytest.approx(np.hypot(2.0, 2.0) - np.hypot(0.2, 0.2))
    assert reward(*[(2.0, 0.1), (2.0, -0.1)] * 20) == pytest.approx(19 * 0.2)


@pytest.mark.parametrize(("kind", "power"), [("distance", 1), ("squared", 2)])
def test_corners_also_reward_by_the_distance(kind: Any, power: int) -> None:
    before, actions, after, tasks = moves(SparseCorner())
    (rewards,) = SparseCorner(reward=kind).reward_terms(before, actions, after, tasks).values()
    np.testing.assert_allclose(rewards, -(np.hypot(*(after - tasks).T) ** power))


@pytest.mark.parametrize("radius", [0.2, 0.5])
def test_half_circles_reward_what_is_near_the_goal_alone(radius: float) -> None:
    family = HalfCircle(goal_radius=radius)
    rng = np.random.default_rng(0)
    tasks = family.tasks.sample(rng, N)
    goals = np.array([[np.cos(angle), np.sin(angle)] for (angle,) in tasks])
    after = goals + rng.uniform(-0.4, 0.4, (N, 2))
    distances = np.hypot(*(after - goals).T)
    (rewards,) = family.reward_terms(after, after, after, tasks).values()
    np.testing.assert_allclose(rewards, [1 - d if d <= radius else 0 for d in distances], atol=1e-12)
    np.testing.assert_array_equal(family.succeeded(after, tasks), distances <= radius)
    (dense,) = HalfCircle(reward="distance").reward_terms(after, after, after, tasks).values()
    np.testing.assert_allclose(dense, -distances)
    np.testing.assert_allclose(family.achieved(after, tasks), distances)
    np.testing.assert_allclose(family.transition(after, np.ones((N, 2)), tasks), after + 0.1)


def test_where_episodes_begin_and_that_they_go_on_to_the_horizon() -> None:
    for family, spread, horizon in ((SparseCorner(), 0.2, 100), (HalfCircle(), 0.0, 20)):
        env = TaskVectorEnv(family, N)
        start, _ = env.reset(seed=0)
        assert np.abs(start).max() == pytest.approx(spread, abs=0.01)
        assert start.std() == pytest.approx(spread / np.sqrt(3), rel=0.05)
        steps = [env.step(np.zeros((N, 2))) for _ in range(horizon)]
        assert not any(step[2].any() for step in steps)
        assert not steps[-2][3].any()
        assert steps[-1][3].all()


def test_a_corner_is_the_only_place_that_may_be_a_task() -> None:
    tasks = SparseCorner().tasks
    rows = np.array([[2.0, 2.0], [2.0, -2.0], [2.0, 1.0], [0.0, 0.0], [np.nan, 2.0]])
    np.testing.assert_array_equal(tasks.valid(rows), [True, True, False, False, False])
    np.testing.assert_array_equal(tasks.in_distribution(rows), [True, True, False, False, False])
    with pytest.raises(ValueError, match=r"one of \(-2\.0, -2\.0\)"):
        TaskVectorEnv(SparseCorner(), 1).reset(options={"tasks": [[1.0, 1.0]]})


@pytest.mark.parametrize("family", [Navigation2D(), SparseCorner(), HalfCircle()])
def test_pictures_of_all_episodes_have_the_same_axes(family: Any) -> None:
    """Wherever a path leads: only what is drawn in the axes differs."""
    task = family.tasks.sample(np.random.default_rng(0), 1)[0]
    short, long = family.render(np.zeros((1, 2)), task), family.render(np.array([[0.0, 0.0], [9.0, 9.0]]), task)
    assert short.shape == long.shape == (400, 400, 3)
    assert not np.array_equal(short, long)
    labels = slice(360, 400)  # below the axes: their ticks and name
    np.testing.assert_array_equal(short[labels], long[labels])
