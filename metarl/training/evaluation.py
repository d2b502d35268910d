"""Held-out tasks: scores after 0 .. K gradient steps with confidence intervals, and the files they are kept in."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metarl.engine.params import Params
from metarl.files import write_atomically
from metarl.problem import Evaluation, Film, Problem
from metarl.randomness import Purpose, numpy_generator
from metarl.training.config import Config

RESAMPLES = 2000  # of what several runs have in common


def held_out_tasks(problem: Problem, config: Config) -> NDArray[np.float64]:
    """The tasks [N, k] that training never sees, keyed by the run's seed."""
    return problem.sample_tasks(config.seed, Purpose.EVALUATION_TASKS, count=config.evaluation_tasks)


def validation_tasks(problem: Problem, config: Config) -> NDArray[np.float64]:
    """Other tasks [N, k] that training never sees: those to look at, and to choose parameters by, while it runs."""
    return problem.sample_tasks(config.seed, Purpose.VALIDATION_TASKS, count=config.validation_tasks)


def evaluate(
    problem: Problem,
    theta: Params,
    config: Config,
    tasks: NDArray[np.float64],
    *,
    purpose: Purpose = Purpose.EVALUATION_TASKS,
) -> Evaluation:
    """Score theta after 0 .. evaluation_steps gradient steps with the test step sizes, on tasks [N, k]."""
    return problem.evaluate(theta, config.test_rule, config.test_steps, tasks, config.seed, purpose=purpose)


def validation_pictures(problem: Problem, theta: Params, config: Config) -> list[Film]:
    """The first validation task, before and after adaptation."""
    rule, steps = config.test_rule, min(max(1, config.inner_steps), config.test_steps)
    tasks, purpose = validation_tasks(problem, config), Purpose.VALIDATION_TASKS
    return problem.pictures(theta, rule, steps, tasks, 0, config.seed, purpose=purpose)


def summarize(scores: NDArray[np.float64], seed: int, *, same_tasks: bool = False) -> dict[str, float]:
    """The mean and the interquartile mean with their 95 % bootstrap intervals, and the median.

    Of one run intervals are of its tasks (the mean's is BCa). Of several, runs are resampled and, in each of them,
    tasks (percentiles): a run is one policy, whose scores on all tasks rise and fall together (Agarwal et al. 2021,
    section 4). Of few runs that is crude: 3 can be drawn in 10 ways. Where all values are equal the interval is that
    value; where one is not finite there is none (NaN).

    Args:
        scores: of S runs on N tasks each, [S, N].
        seed: key of the resampling.
        same_tasks: all runs were scored on the same tasks, which then are resampled for all alike.
    """
    runs, tasks = scores.shape
    rng = numpy_generator(seed, Purpose.BOOTSTRAP)
    chosen_runs = rng.integers(runs, size=(RESAMPLES, runs))
    chosen_tasks = rng.integers(tasks, size=(RESAMPLES, 1 if same_tasks else runs, tasks))
    resampled = scores[chosen_runs[:, :, None], chosen_tasks].reshape(RESAMPLES, -1)
    low, high = _interval(scores[0], seed) if runs == 1 else _percentiles(resampled.mean(1))
    iqm_low, iqm_high = _percentiles(stats.trim_mean(resampled, 0.25, axis=1))
    return {
        "mean": float(scores.mean()),
        "low": low,
        "high": high,
        "median": float(np.median(scores)),
        "interquartile_mean": float(stats.trim_mean(scores.ravel(), 0.25)),
        "iqm_low": iqm_low,
        "iqm_high": iqm_high,
    }


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975)) if np.isfinite(values).all() else (np.nan, np.nan)
    return float(low), float(high)


def _interval(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean (BCa), of one run's tasks."""
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(mean) or np.ptp(values) == 0:
        return (mean, mean) if np.isfinite(mean) else (np.nan, np.nan)
    rng = numpy_generator(seed, Purpose.BOOTSTRAP)
    result = stats.bootstrap((values,), np.mean, confidence_level=0.95, method="BCa", rng=rng).confidence_interval
    return float(result.low), float(result.high)


def write_evaluation(
    run_dir: Path,
    config: Config,
    evaluation: Evaluation,
    tasks: NDArray[np.float64],
    *,
    iteration: int,
    split: str = "test",
    in_distribution: NDArray[np.bool_] | None = None,
) -> list[dict[str, Any]]:
    """Write evaluation.csv (a row per task and step), evaluation.json (per step) and evaluation.npz (traces).

    Args:
        run_dir: where to.
        config, evaluation, tasks: what was evaluated, and how.
        iteration: after how many outer steps.
        split: what the tasks are of.
        in_distribution: of tasks that were not drawn, whether training may draw them, [N]: a column of evaluation.csv.

    Returns:
        The per-step summaries of evaluation.json.
    """
    scores = evaluation.scores
    steps, count = next(iter(scores.values())).shape
    identity = {"experiment": config.experiment, "method": config.method, "seed": config.seed}
    rows = [
        identity
        | {"gradient_steps": step, "task": task}
        | {f"task_{i}": float(value) for i, value in enumerate(tasks[task])}
        | ({} if in_distribution is None else {"in_distribution": int(in_distribution[task])})
        | {name: float(values[step, task]) for name, values in scores.items()}
        for step in range(steps)
        for task in range(count)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(run_dir / "evaluation.csv", buffer.getvalue().encode())

    summaries = summaries_of(scores, config.seed)
    document = identity | {
        "checkpoint": config.evaluation_checkpoint,
        "iteration": iteration,
        "split": split,
        **config.protocol,
        "tasks": count,
        "steps": [{name: _finite(summary) for name, summary in step.items()} for step in summaries],
    }
    arrays = io.BytesIO()
    np.savez_compressed(arrays, allow_pickle=False, **evaluation.traces)
    write_atomically(run_dir / "evaluation.npz", arrays.getvalue())
    # last: whoever finds it finds the others
    write_atomically(run_dir / "evaluation.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    return summaries


def summaries_of(scores: Mapping[str, NDArray[np.float64]], seed: int) -> list[dict[str, Any]]:
    """`summarize` of every score [K + 1, N] of one run, after each of 0 .. K gradient steps."""
    steps = len(next(iter(scores.values())))
    return [
        {"gradient_steps": step} | {name: summarize(values[step][None], seed) for name, values in scores.items()}
        for step in range(steps)
    ]


def _finite(summary: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if not isinstance(summary, dict):
        return summary
    return {name: value if np.isfinite(value) else None for name, value in summary.items()}
