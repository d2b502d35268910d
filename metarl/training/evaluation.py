"""Held-out tasks: scores after 0 .. K gradient steps with confidence intervals, and the files they are kept in."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metarl.engine.inner import RULES
from metarl.engine.params import Params
from metarl.files import write_atomically
from metarl.problem import Evaluation, Film, Metrics, Problem
from metarl.randomness import Purpose, numpy_generator
from metarl.training.config import Config

RESAMPLES = 2000  # of the interquartile mean
LOGGED = {"average_return": "return", "loss": "loss", "accuracy": "accuracy"}  # score -> what the metric is called


def held_out_tasks(problem: Problem, config: Config) -> NDArray[np.float64]:
    """The tasks [N, k] that training never sees, keyed by the run's seed."""
    return problem.sample_tasks(config.seed, Purpose.EVALUATION_TASKS, count=config.evaluation_tasks)


def validation_tasks(problem: Problem, config: Config) -> NDArray[np.float64]:
    """Other tasks [N, k] that training never sees: those to look at, and to choose parameters by, while it runs."""
    return problem.sample_tasks(config.seed, Purpose.VALIDATION_TASKS, count=config.validation_tasks)


def evaluate(problem: Problem, theta: Params, config: Config, tasks: NDArray[np.float64]) -> Evaluation:
    """Score theta after 0 .. evaluation_steps gradient steps with the test step sizes, on tasks [N, k]."""
    return problem.evaluate(theta, RULES[config.rule](config.test_step_sizes), config.test_steps, tasks, config.seed)


def validation_scores(problem: Problem, theta: Params, config: Config) -> Metrics:
    """`evaluation/{return,loss,accuracy}_step{k}`, means over the validation tasks, for the training log."""
    scores = evaluate(problem, theta, config, validation_tasks(problem, config)).scores
    return {
        f"evaluation/{short}_step{step}": float(row.mean())
        for name, short in LOGGED.items()
        for step, row in enumerate(scores.get(name, ()))
    }


def validation_pictures(problem: Problem, theta: Params, config: Config) -> list[Film]:
    """The first validation task, before and after adaptation."""
    rule, steps = RULES[config.rule](config.test_step_sizes), min(max(1, config.inner_steps), config.test_steps)
    return problem.pictures(theta, rule, steps, validation_tasks(problem, config), 0, config.seed)


def summarize(
    values: NDArray[np.float64], seed: int, runs: Sequence[NDArray[np.float64]] | None = None
) -> dict[str, float]:
    """Mean over tasks with its 95 % bootstrap interval (BCa), the median, and the interquartile mean with its own.

    Where all values are equal the interval is that value; where one is not finite there is none (NaN).

    Args:
        values: one of each task, [N].
        seed: key of the resampling.
        runs: where several runs were scored, the values of each, [N] each: the interquartile mean is over all, and its
            interval resamples runs, and each run's tasks (Agarwal et al. 2021, whose runs are of single tasks, resample
            within tasks). Of few runs it is crude. None: `values` is the one run.
    """
    mean, runs = float(values.mean()), [values] if runs is None else runs
    low, high = _interval(values, seed)
    rng = numpy_generator(seed, Purpose.BOOTSTRAP)
    drawn = rng.integers(len(runs), size=(RESAMPLES, len(runs)))  # with its tasks, each run's own number of them
    tasks = [rng.integers(len(one), size=(RESAMPLES, len(one))) for one in runs]
    length = min(map(len, runs))
    table = np.stack([one[chosen[:, :length]] for one, chosen in zip(runs, tasks, strict=True)])  # [S, resamples, N]
    resampled = table[drawn.T, np.arange(RESAMPLES)]  # [S, resamples, N], whole runs drawn
    means = stats.trim_mean(resampled.transpose(1, 0, 2).reshape(RESAMPLES, -1), 0.25, axis=1)
    iqm_low, iqm_high = np.quantile(means, (0.025, 0.975)) if np.isfinite(means).all() else (np.nan, np.nan)
    return {
        "mean": mean,
        "low": low,
        "high": high,
        "median": float(np.median(values)),
        "interquartile_mean": float(stats.trim_mean(np.concatenate(runs), 0.25)),
        "iqm_low": float(iqm_low),
        "iqm_high": float(iqm_high),
    }


def _interval(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval of the mean."""
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
) -> list[dict[str, Any]]:
    """Write evaluation.csv (a row per task and step), evaluation.json (per step) and evaluation.npz (traces).

    Returns the per-step summaries of evaluation.json.
    """
    scores = evaluation.scores
    steps, count = next(iter(scores.values())).shape
    identity = {"experiment": config.experiment, "method": config.method, "seed": config.seed}
    rows = [
        identity
        | {"gradient_steps": step, "task": task}
        | {f"task_{i}": float(value) for i, value in enumerate(tasks[task])}
        | {name: float(values[step, task]) for name, values in scores.items()}
        for step in range(steps)
        for task in range(count)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(run_dir / "evaluation.csv", buffer.getvalue().encode())

    summaries = [
        {"gradient_steps": step} | {name: summarize(values[step], config.seed) for name, values in scores.items()}
        for step in range(steps)
    ]
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


def _finite(summary: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if not isinstance(summary, dict):
        return summary
    return {name: value if np.isfinite(value) else None for name, value in summary.items()}
