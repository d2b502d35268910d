"""The three files of an evaluation, which belong together: evaluation.json has digests of the other two.

Axes: K + 1 gradient steps, N tasks.
"""

import csv
import hashlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.files import write_atomically
from metarl.problem import Evaluation
from metarl.reading import numbers, read_arrays, read_object, read_table, reading
from metarl.tasks import numbered_names
from metarl.training.config import Config
from metarl.training.statistics import interval_is_over, summaries_of

SUMMARY, PER_TASK, TRACES = "evaluation.json", "evaluation.csv", "evaluation.npz"
DIGESTS = "digests"  # field of the summary: name of another file -> SHA-256 of its content
IDENTITY = ("experiment", "method", "seed", "gradient_steps", "task")  # the first columns of evaluation.csv


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

    Whoever reads them is told if they are not of one evaluation, such as after a power cut between two of them.

    Args:
        run_dir: where to.
        config, evaluation, tasks: what was evaluated, and how.
        iteration: after how many outer steps.
        split: what the tasks are of.
        in_distribution: of tasks that were not drawn, whether training may draw them, [N]: a column of evaluation.csv.

    Returns:
        The per-step summaries of evaluation.json.

    Raises:
        OSError: a file cannot be written; it is named.
    """
    scores = evaluation.scores
    _, count = next(iter(scores.values())).shape
    identity = {"experiment": config.experiment, "method": config.method, "seed": config.seed}
    table = _table(identity, evaluation, tasks, in_distribution)
    arrays = io.BytesIO()
    np.savez_compressed(arrays, allow_pickle=False, **evaluation.traces)
    summaries = summaries_of(scores, config.seed)
    document = identity | {
        "checkpoint": config.evaluation_checkpoint,
        "iteration": iteration,
        "split": split,
        **config.protocol,
        "tasks": count,
        "intervals": f"of 95 %, over the {interval_is_over(1)} of one seed",
        "steps": [{name: _finite(summary) for name, summary in step.items()} for step in summaries],
        DIGESTS: {PER_TASK: _digest(table), TRACES: _digest(arrays.getvalue())},
    }
    write_atomically(run_dir / PER_TASK, table)
    write_atomically(run_dir / TRACES, arrays.getvalue())
    # The summary comes last, so that whoever finds it finds the others.
    write_atomically(run_dir / SUMMARY, (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
    return summaries


def differences_to(directory: Path, config: Config, tasks: NDArray[np.float64], *, split: str = "test") -> list[str]:
    """How the evaluation in a directory was made otherwise than another that is to be written there, in phrases.

    Args:
        directory: may hold an evaluation.
        config, tasks, split: of the other one; see `write_evaluation`.

    Returns:
        [] where there is none, it cannot be read, or only the run has gone on since.
    """
    try:
        before = read_summary(directory)
        kept = read_scores(directory)
    except (OSError, ValueError):
        return []
    now = {"split": split, "checkpoint": config.evaluation_checkpoint, **config.protocol, "tasks": len(tasks)}
    phrases = [f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if (steps := len(before["steps"]) - 1) != config.test_steps:
        phrases.append(f"{steps} gradient steps, now {config.test_steps}")
    rows = [kept[name][0] for name in numbered_names(tasks.shape[1]) if name in kept]
    if not phrases and not np.array_equal(np.stack(rows, 1) if rows else tasks, tasks):
        phrases.append("other tasks")
    return phrases


def read_summary(directory: Path) -> dict[str, Any]:
    """The content of evaluation.json.

    Raises:
        ValueError: it is damaged, or is not of an evaluation.
    """
    path = directory / SUMMARY
    document = read_object(path)
    with reading(path, "the summary of an evaluation"):
        if document["checkpoint"] not in ("best", "last"):
            raise ValueError(f"checkpoint must be best or last; got {document['checkpoint']!r}")
        steps = document["steps"]
        if not (isinstance(steps, list) and steps and all(isinstance(step, dict) for step in steps)):
            raise ValueError("steps must be a list of objects, at least one")
        if not isinstance(document.get(DIGESTS, {}), dict):
            raise TypeError(f"{DIGESTS} must be an object")
    return document


def read_scores(directory: Path) -> dict[str, NDArray[np.float64]]:
    """Every column of numbers in evaluation.csv, [K + 1, N].

    Raises:
        ValueError: the file is damaged, or is not of the evaluation that evaluation.json tells of.
    """
    path = directory / PER_TASK
    summary = read_summary(directory)
    rows = read_table(path, IDENTITY, data=_of_the_same_evaluation(path, summary))
    with reading(path, "the scores of an evaluation"):
        steps, tasks = (numbers(rows, name, path) for name in ("gradient_steps", "task"))
        count = int(tasks.max()) + 1
        order = np.divmod(np.arange(len(rows)), max(count, 1))
        if len(rows) % count or not np.array_equal(np.stack((steps, tasks)), np.stack(order)):
            raise ValueError(f"{len(rows)} rows are not those of {count} tasks, one gradient step after the other")
    names = [name for name in rows[0] if name not in IDENTITY]
    scores = {name: numbers(rows, name, path).reshape(-1, count) for name in names}
    if DIGESTS not in summary:
        _require_means(scores, summary, path)
    return scores


def read_traces(directory: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of evaluation.npz; None where it is not there.

    Raises:
        ValueError: the file is damaged, or is not of the evaluation that evaluation.json tells of.
    """
    path = directory / TRACES
    if not path.is_file():
        return None
    summary = read_summary(directory)
    arrays = read_arrays(path, _of_the_same_evaluation(path, summary))
    if DIGESTS not in summary:
        warnings.warn(
            f"whether {path} is of the evaluation in {SUMMARY} cannot be checked: a version before 0.9 wrote them, "
            "without digests; evaluate the run again to have them",
            stacklevel=2,
        )
    return arrays


def is_whole(directory: Path) -> bool:
    """Whether a directory has an evaluation's summary and scores, and its files are undamaged and of one evaluation."""
    if not ((directory / SUMMARY).is_file() and (directory / PER_TASK).is_file()):
        return False
    try:
        read_summary(directory)
        read_scores(directory)
        read_traces(directory)
    except ValueError:
        return False
    return True


def _of_the_same_evaluation(path: Path, summary: dict[str, Any]) -> bytes:
    """The content of a file, which must be that of the evaluation that the summary beside it tells of.

    Summaries of versions before 0.9 do not say. Raises ValueError.
    """
    data = path.read_bytes()
    digests = summary.get(DIGESTS, {})
    if digests and digests.get(path.name) != _digest(data):
        raise _mixed(path)
    return data


def _require_means(scores: dict[str, NDArray[np.float64]], summary: dict[str, Any], path: Path) -> None:
    """Raise ValueError unless scores [K + 1, N] have the means of a summary that has no digests."""
    steps = summary["steps"]
    for name in scores.keys() & steps[0].keys():
        with reading(path.parent / SUMMARY, "the summary of an evaluation"):
            kept = np.array([step[name]["mean"] for step in steps], np.float64)  # None becomes nan
        # Single precision: older versions took some means of single-precision scores.
        means = scores[name].mean(1)
        if means.shape != kept.shape or not np.allclose(_finite_or_nan(means), kept, rtol=1e-4, equal_nan=True):
            raise _mixed(path)


def _finite_or_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isfinite(values), values, np.nan)


def _mixed(path: Path) -> ValueError:
    words = f"is damaged, or not of the evaluation that {path.parent / SUMMARY} tells of: evaluate the run again"
    return ValueError(f"{path} {words}")


def _table(
    identity: dict[str, Any],
    evaluation: Evaluation,
    tasks: NDArray[np.float64],
    in_distribution: NDArray[np.bool_] | None,
) -> bytes:
    """evaluation.csv: a row per gradient step and task."""
    steps, count = next(iter(evaluation.scores.values())).shape
    columns = numbered_names(tasks.shape[1])
    rows = [
        identity
        | {"gradient_steps": step, "task": task}
        | dict(zip(columns, map(float, tasks[task]), strict=True))
        | ({} if in_distribution is None else {"in_distribution": int(in_distribution[task])})
        | {name: float(values[step, task]) for name, values in evaluation.scores.items()}
        for step in range(steps)
        for task in range(count)
    ]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _finite(summary: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if not isinstance(summary, dict):
        return summary
    return {name: value if np.isfinite(value) else None for name, value in summary.items()}
