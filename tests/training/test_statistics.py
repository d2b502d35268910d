"""Intervals of several seeds and of the tasks of one, against known distributions."""

import numpy as np
import pytest

from metarl.training.statistics import interval_is_over, interval_over_seeds, plus_minus, summaries_of, summarize

TIMES = 2000  # simulated experiments: the standard error of a coverage of 95 % is 0.5 %


@pytest.mark.parametrize(("seeds", "by_bootstrap"), [(3, 0.76), (5, 0.86)])
def test_intervals_of_few_seeds_cover_as_often_as_they_say(seeds: int, by_bootstrap: float) -> None:
    """Seeds that differ as much as tasks do: Student's t covers 95 %, a bootstrap of seeds and tasks much less."""
    rng, tasks = np.random.default_rng(0), 40
    scores = rng.normal(rng.normal(2.0, 1.0, (TIMES, seeds, 1)), 1.0, (TIMES, seeds, tasks))
    low, high = interval_over_seeds(scores.mean(-1))
    assert ((low <= 2.0) & (high >= 2.0)).mean() == pytest.approx(0.95, abs=0.015)
    covered = np.mean([_bootstrap_covers(one, 2.0, rng) for one in scores[:500]])
    assert covered == pytest.approx(by_bootstrap, abs=0.05)


def _bootstrap_covers(scores: np.ndarray, truth: float, rng: np.random.Generator) -> bool:
    """Whether the percentile bootstrap of seeds and, in each, of tasks holds the truth: version 0.8 called it 95 %."""
    seeds, tasks = scores.shape
    chosen = rng.integers(seeds, size=(1000, seeds))
    # The mean of resampled tasks of a seed, normal in all but name: the tasks' own resampling in one draw.
    means = scores.mean(1)[chosen] + scores.std(1)[chosen] / np.sqrt(tasks) * rng.standard_normal(chosen.shape)
    low, high = np.quantile(means.mean(1), (0.025, 0.975))
    return bool(low <= truth <= high)


@pytest.mark.parametrize("same_tasks", [False, True])
def test_tasks_enter_through_the_means_of_the_seeds(same_tasks: bool) -> None:
    """Seeds that are alike, each with its own tasks: the interval covers; of shared tasks it is of their mean score."""
    rng = np.random.default_rng(1)
    tasks = rng.normal(0.0, 3.0, (TIMES, 1 if same_tasks else 4, 20))
    scores = 2.0 + tasks + rng.normal(0.0, 0.1, (TIMES, 4, 20))
    truth = 2.0 + tasks.mean((1, 2)) if same_tasks else 2.0
    low, high = interval_over_seeds(scores.mean(-1))
    assert ((low <= truth) & (high >= truth)).mean() == pytest.approx(0.95, abs=0.015)


def test_student_by_hand() -> None:
    """Of 1, 2, 3: the standard deviation is 1, t of 2 degrees of freedom 4.3027 (any table)."""
    low, high = interval_over_seeds(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == (pytest.approx(2.0 - 4.302653 / 3**0.5), pytest.approx(2.0 + 4.302653 / 3**0.5))
    with pytest.raises(ValueError, match="at least 2 of them; got 1"):
        interval_over_seeds(np.array([1.0]))
    assert np.isnan(interval_over_seeds(np.array([1.0, np.inf, 2.0]))).all()


def test_summary_of_several_seeds_is_of_their_own_means() -> None:
    scores = np.array([[0.0, 1.0, 2.0, 9.0], [4.0, 5.0, 6.0, 13.0], [2.0, 2.0, 2.0, 2.0]])
    summary = summarize(scores, 0)
    assert (summary["mean"], summary["median"]) == (4.0, 2.0)
    assert (summary["low"], summary["high"]) == interval_over_seeds(np.array([3.0, 7.0, 2.0]))
    assert summary["interquartile_mean"] == pytest.approx((1.5 + 5.5 + 2.0) / 3)  # without a quarter at either end
    assert (summary["iqm_low"], summary["iqm_high"]) == interval_over_seeds(np.array([1.5, 5.5, 2.0]))
    assert [interval_is_over(count) for count in (1, 2, 3)] == ["tasks", "seeds", "seeds"]


def test_interval_of_one_run_covers_the_mean_over_tasks() -> None:
    """Of 100 samples of 40 normal values, the 95 % interval holds the true mean in about 95."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        summary = summarize(rng.normal(3.0, 2.0, (1, 40)), seed)
        covered += summary["low"] <= 3.0 <= summary["high"]
    assert 88 <= covered <= 99


def test_summary_of_known_values() -> None:
    summary = summarize(np.array([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 100.0]]), 0)
    assert summary["mean"] == 15.125
    assert summary["interquartile_mean"] == 3.5
    assert summary["low"] < 15.125 < summary["high"]
    for seeds in (1, 3):
        assert summarize(np.full((seeds, 5), 2.0), 0) == dict.fromkeys(summary, 2.0)
        scores = np.ones((seeds, 4))
        scores[0, 1] = np.inf
        infinite = summarize(scores, 0)
        assert (infinite["mean"], infinite["median"]) == (np.inf, 1.0)
        assert np.isnan(infinite["low"]) and np.isnan(infinite["high"])


def test_the_interval_that_papers_print() -> None:
    """By hand for 1, 2, 3; of 600 tasks that are right in 3 of 5 queries on average it covers as often as it says."""
    assert plus_minus(np.array([1.0, 2.0, 3.0])) == pytest.approx(1.959964 / 3**0.5)
    rng = np.random.default_rng(0)
    scores = rng.binomial(5, rng.beta(3.0, 2.0, (TIMES, 600))) / 5
    half = np.array([plus_minus(of_one) for of_one in scores])
    assert (abs(scores.mean(1) - 0.6) <= half).mean() == pytest.approx(0.95, abs=0.015)
    assert half.mean() == pytest.approx(1.959964 * scores.std() / 600**0.5, rel=0.01)
    (before, after) = summaries_of({"accuracy": scores[:2]}, 0)
    assert (before["accuracy"]["plus_minus"], after["accuracy"]["plus_minus"]) == (half[0], half[1])
    low, high = before["accuracy"]["low"], before["accuracy"]["high"]
    assert high - low == pytest.approx(2 * half[0], rel=0.05)  # the bootstrap's is about the same
    assert np.isnan([plus_minus(np.array([1.0])), plus_minus(np.array([1.0, np.inf]))]).all()
