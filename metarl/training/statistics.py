"""Means of scores with 95 % intervals: of one run over its tasks, of several runs over their seeds.

A run is one seed, and one policy: its scores on all tasks rise and fall together. So of several runs a seed is one
number, its mean over the tasks that it was scored on, and the interval is Student's t of these S means, with S - 1
degrees of freedom. Tasks enter through the means alone: where every seed has tasks of its own, what they add to the
spread of the means is part of it; where all have the same tasks, the interval is of the score on those. A bootstrap of
3 seeds that differ as much as tasks do covers 76 % where it says 95; tests/training/test_statistics.py measures both.

Axes: S seeds (runs), N tasks.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metarl.randomness import Purpose, numpy_generator

CONFIDENCE = 0.95
RESAMPLES = 2000  # of the tasks of one run


def interval_is_over(runs: int) -> str:
    """What intervals of so many runs are over: `seeds`, or of a single one its `tasks`."""
    return "seeds" if runs > 1 else "tasks"


def summarize(scores: NDArray[np.float64], seed: int) -> dict[str, float]:
    """The mean and the interquartile mean with their 95 % intervals, and the median.

    Of one run intervals are of its tasks, by a bootstrap (the mean's is BCa), and the interquartile mean is that of its
    tasks. Of several it is the mean of theirs, and both intervals are over the seeds, by `interval_over_seeds`. Where
    all values are equal the interval is that value; where one is not finite there is none (NaN).

    Args:
        scores: of S runs on N tasks each, [S, N].
        seed: key of the bootstrap.
    """
    runs, tasks = scores.shape
    means = scores.mean(1)
    interquartile_means = stats.trim_mean(scores, 0.25, axis=1)
    if runs > 1:
        low, high = map(float, interval_over_seeds(means))
        iqm_low, iqm_high = map(float, interval_over_seeds(interquartile_means))
    else:
        low, high = _interval_over_tasks(scores[0], seed)
        chosen = numpy_generator(seed, Purpose.BOOTSTRAP).integers(tasks, size=(RESAMPLES, tasks))
        iqm_low, iqm_high = _percentiles(stats.trim_mean(scores[0][chosen], 0.25, axis=1))
    return {
        "mean": float(means.mean()),
        "low": low,
        "high": high,
        "median": float(np.median(scores)),
        "interquartile_mean": float(interquartile_means.mean()),
        "iqm_low": iqm_low,
        "iqm_high": iqm_high,
    }


def summaries_of(scores: Mapping[str, NDArray[np.float64]], seed: int) -> list[dict[str, Any]]:
    """`summarize` and `plus_minus` of every score [K + 1, N] of one run, after each of 0 .. K gradient steps."""
    steps = len(next(iter(scores.values())))
    return [
        {"gradient_steps": step}
        | {
            name: summarize(values[step][None], seed) | {"plus_minus": plus_minus(values[step])}
            for name, values in scores.items()
        }
        for step in range(steps)
    ]


def plus_minus(scores: NDArray[np.float64]) -> float:
    """Half the 95 % interval that papers on few-shot learning print, 1.96 s / sqrt(N), of one run's tasks [N].

    It takes the mean to be normal, for which these papers have at least 600 tasks. NaN where a score is not finite, and
    of a single task.
    """
    if len(scores) < 2 or not np.isfinite(scores).all():
        return float("nan")
    return float(stats.norm.ppf((1.0 + CONFIDENCE) / 2.0) * scores.std(ddof=1) / np.sqrt(len(scores)))


def interval_over_seeds(means: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % interval of the mean over seeds by Student's t, of the seeds' own means [..., S]; low, high [...].

    It is exact where seeds' means are normally distributed. NaN where one of them is not finite.

    Raises:
        ValueError: fewer than two seeds.
    """
    seeds = means.shape[-1]
    if seeds < 2:
        raise ValueError(f"an interval over seeds needs at least 2 of them; got {seeds}")
    with np.errstate(invalid="ignore"):  # infinite less infinite
        spread = means.std(-1, ddof=1)
    half = stats.t.ppf((1.0 + CONFIDENCE) / 2.0, seeds - 1) * spread / np.sqrt(seeds)
    centre = np.where(np.isfinite(half), means.mean(-1), np.nan)
    return centre - half, centre + half


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(values, (tail, 1.0 - tail)) if np.isfinite(values).all() else (np.nan, np.nan)
    return float(low), float(high)


def _interval_over_tasks(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean (BCa), of one run's tasks [N]."""
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(mean) or np.ptp(values) == 0:
        return (mean, mean) if np.isfinite(mean) else (np.nan, np.nan)
    rng = numpy_generator(seed, Purpose.BOOTSTRAP)
    result = stats.bootstrap((values,), np.mean, confidence_level=CONFIDENCE, method="BCa", rng=rng)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
