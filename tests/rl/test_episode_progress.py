import numpy as np
import pytest

from metarl.rl.episode_progress import Progress
from metarl.rl.episodes import BREAKS


def where(*environments: int, n: int = 4) -> np.ndarray:
    return np.isin(np.arange(n), environments)


def test_timesteps_count_until_an_episode_ends() -> None:
    progress = Progress(4, horizon=3)
    progress.record(0, np.arange(4.0), {})
    progress.end_where(where(1))
    progress.record(1, np.arange(4.0), {})
    progress.end_where(where(2, 3))
    progress.end_where(where(0) & ~where(0))
    progress.record(2, np.array([5.0, np.nan, 7.0, 8.0]), {})
    assert progress.mask.tolist() == [[True] * 4, [True, False, True, True], [True, False, False, False]]
    assert progress.rewards.tolist() == [[0, 1, 2, 3], [0, 0, 2, 3], [5, 0, 0, 0]]
    assert progress.running.tolist() == [True, False, False, False]


@pytest.mark.parametrize("reason", BREAKS)
def test_an_episode_breaks_once_for_the_first_reason(reason: str) -> None:
    progress = Progress(4, horizon=1)
    progress.end_where(where(3))
    progress.break_where(reason, where(0, 3))
    for other in BREAKS:
        progress.break_where(other, where(0))
    assert {name: np.flatnonzero(broken).tolist() for name, broken in progress.breaks.items() if broken.any()} == {
        reason: [0]
    }
    assert progress.running.tolist() == [False, True, True, False]


def test_what_is_reported_is_that_of_the_timesteps_that_count() -> None:
    progress = Progress(3, horizon=3)
    reports = (([0.1, 0.2, 0.3], [0, 1, 0]), ([0.4, 0.5, 0.6], [1, 0, 0]), ([0.7, 0.8, 0.9], [0, 0, 0]))
    for t, (achieved, success) in enumerate(reports):
        info = {"achieved": np.array(achieved), "success": np.array(success, bool), "reward/way": np.array(achieved)}
        progress.record(t, np.zeros(3), info | {"other": np.ones(3)})
        if t == 0:
            progress.end_where(where(1, n=3))
    assert progress.achieved.tolist() == [0.7, 0.2, 0.9]
    assert progress.success.tolist() == [1, 1, 0]
    assert list(progress.reward_terms) == ["way"]
    np.testing.assert_allclose(progress.reward_terms["way"], [1.2, 0.2, 1.8])


def test_what_is_not_reported_is_nan() -> None:
    progress = Progress(2, horizon=1)
    progress.record(0, np.ones(2), {})
    assert np.isnan(progress.achieved).all() and np.isnan(progress.success).all()
    assert progress.reward_terms == {}
