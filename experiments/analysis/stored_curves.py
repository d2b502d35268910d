"""Learning curves of finished runs, read from run directories and kept in one small table."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.catalogue.experiment import Experiment, Training
from metarl.experiments.commands.output_files import write_table
from metarl.experiments.presets.training_arguments import parse
from metarl.metrics import rounded
from metarl.problem import Metrics
from metarl.reading import numbers, read_object, read_table, reading
from metarl.training.callbacks.csv import read_metrics
from metarl.training.run_directory import CONFIG, METRICS

CURVES = "curves.csv"
RUNS = "runs.csv"
LAST_PART = 0.2  # share of a run's timesteps, the last ones, that `ReturnCurve.end` averages over
RETURNS = "rollout/return_step"
# Decimals of returns. They are rounded where runs are read, so that kept curves give the same effects.
DECIMALS = 2
DIGITS = 4  # significant ones of scores and seconds in comparisons
PROCESSOR = "time/processor"


class ReturnCurve(NamedTuple):
    """A run's average returns during meta-training, by iteration."""

    timesteps: NDArray[np.float64]  # timesteps sampled so far, those of the iteration included, [I]
    before: NDArray[np.float64]  # return before adaptation, [I]
    after: NDArray[np.float64]  # return after the inner steps that the run trains, [I]

    @property
    def end(self) -> float:
        """The mean return after adaptation over the last part of the timesteps."""
        return mean_of_last(self.timesteps, self.after)

    @property
    def whole(self) -> float:
        """The mean return after adaptation over the whole run: high for a run that learns early."""
        return float(self.after.mean())


class ScoreCurve(NamedTuple):
    """A run's scores during meta-training, with what they took: timesteps or meta-iterations, and processor time."""

    amount: NDArray[np.float64]  # timesteps sampled so far; meta-iterations where a problem samples none, [I]
    seconds: NDArray[np.float64]  # processor time so far, by the median iteration, [I]
    before: NDArray[np.float64]  # score before adaptation, [I]
    after: NDArray[np.float64]  # score after the inner steps that the run trains, [I]

    @property
    def end(self) -> float:
        """The mean score after adaptation over the last part of the timesteps or iterations."""
        return mean_of_last(self.amount, self.after)

    @property
    def start(self) -> float:
        """The mean score before adaptation over the same part."""
        return mean_of_last(self.amount, self.before)


def mean_of_last(amount: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The mean of values over the last part (`LAST_PART`) of what they are measured over, both [I]."""
    return float(values[amount > (1.0 - LAST_PART) * amount[-1]].mean())


def settings(arguments: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The flags of a command line and their values, whatever their order; `--run-dir` and `--resume` are left out."""
    found: dict[str, tuple[str, ...]] = {}
    name = ""
    for word in arguments:
        if word.startswith("--"):
            name, *values = word.removeprefix("--").split("=", 1)
            found[name] = tuple(values)
        elif name:
            found[name] = (*found[name], word)
    return {name: values for name, values in found.items() if name not in ("run-dir", "resume")}


def finished_return_curve(run_dir: Path, training: Training) -> ReturnCurve | None:
    """The curve of a run; None if there is no such run, or if it is unfinished.

    Raises:
        ValueError: the directory holds a run that was started with other flags.
    """
    rows = _finished_rows(run_dir, training)
    if rows is None:
        return None
    with reading(run_dir / METRICS, "the metrics of reinforcement learning"):
        last = max(int(name.removeprefix(RETURNS)) for name in rows[0] if name.startswith(RETURNS))
        columns = ("env_steps", f"{RETURNS}0", f"{RETURNS}{last}")
        return ReturnCurve(*(np.array([row[name] for row in rows]).round(DECIMALS) for name in columns))


def finished_score_curve(run_dir: Path, training: Training) -> ScoreCurve | None:
    """The scores that the learning curve of a run shows; None if there is no such run, or if it is unfinished.

    Seconds are iterations times the median processor time of an iteration: what the first one takes to start or to
    compile does not count, nor do other processes of the machine. In supervised learning logged iterations score their
    meta-batch, too, which those between them do not.

    Raises:
        ValueError: the directory holds a run that was started with other flags.
    """
    rows = _finished_rows(run_dir, training)
    if rows is None:
        return None
    config = parse(training.arguments).config
    metric, _ = config.problem.drawn_curve
    names = [metric.at(0), metric.at(config.adaptation_steps)]
    with reading(run_dir / METRICS, "metrics with processor time and scores"):
        seconds = float(np.median([row[PROCESSOR] for row in rows if PROCESSOR in row]))
        scored = [row for row in rows if names[1] in row]
        # A validation precedes the outer step of its iteration.
        done = [row["iteration"] + ("env_steps" in row) for row in scored]
        amount = [row.get("env_steps", row["iteration"]) for row in scored]
        before, after = ([row[name] for row in scored] for name in names)
        values = (amount, [seconds * count for count in done], before, after)
        return ScoreCurve(*(np.array([rounded(value, DIGITS) for value in column]) for column in values))


def _finished_rows(run_dir: Path, training: Training) -> list[Metrics] | None:
    """The metrics of a run; None if there is no such run, or if it is unfinished.

    Raises:
        ValueError: the directory holds a run that was started with other flags.
    """
    rows = read_metrics(run_dir / METRICS)
    wanted = settings(training.arguments)
    made = rows[-1]["iteration"] + 1 if rows else 0
    if not (run_dir / CONFIG).is_file() or made < int(wanted["iterations"][0]):
        return None
    with reading(run_dir / CONFIG, "the configuration of a run with its command"):
        made = settings(shlex.split(read_object(run_dir / CONFIG)["command"]))
    for name in sorted({*wanted, *made}):
        ours, theirs = (" ".join(flags.get(name, ("(none)",))) for flags in (wanted, made))
        if ours != theirs:
            raise ValueError(f"{run_dir} is another run: --{name} is {theirs} there and {ours} here")
    return rows


def read_stored_return_curves(results: Path, experiment: Experiment) -> dict[str, ReturnCurve]:
    """The curves that lie in `results`, of the runs that the study still has, with the flags it still gives.

    Raises:
        ValueError: a table is damaged; it is named.
    """
    columns = ("timesteps", "before", "after")
    return {name: ReturnCurve(*values) for name, values in _stored_columns(results, experiment, columns).items()}


def read_stored_score_curves(results: Path, experiment: Experiment) -> dict[str, ScoreCurve]:
    """As `read_stored_return_curves`, of a comparison."""
    return {
        name: ScoreCurve(*values) for name, values in _stored_columns(results, experiment, ScoreCurve._fields).items()
    }


def _stored_columns(
    results: Path, experiment: Experiment, columns: Sequence[str]
) -> dict[str, list[NDArray[np.float64]]]:
    """Columns of the curves that lie in `results`, each [I], by run."""
    if not ((results / CURVES).is_file() and (results / RUNS).is_file()):
        return {}
    made = read_table(results / RUNS, ("run", "flags"))
    flags = {row["run"]: settings(row["flags"].split()) for row in made}
    rows = read_table(results / CURVES, ("run",))
    values = [numbers(rows, name, results / CURVES) for name in columns]
    runs = np.array([row["run"] for row in rows])
    return {
        run.name: [column[runs == run.name] for column in values]
        for run in experiment.runs
        if run.name in runs and flags.get(run.name) == settings(run.flags.split())
    }


def write_return_curves(path: Path, curves: dict[str, ReturnCurve]) -> None:
    """Write learning curves to a table, a row per run and iteration."""
    rows = [
        {
            "run": name,
            "timesteps": f"{timesteps:.0f}",
            "before": f"{before:.{DECIMALS}f}",
            "after": f"{after:.{DECIMALS}f}",
        }
        for name, curve in curves.items()
        for timesteps, before, after in zip(*curve, strict=True)
    ]
    write_table(path, rows, ("run", "timesteps", "before", "after"))


def write_score_curves(path: Path, curves: dict[str, ScoreCurve]) -> None:
    """Write curves to a table, a row per run and measured iteration."""
    rows = [
        {"run": name}
        | {column: f"{value:.{DIGITS}g}" for column, value in zip(ScoreCurve._fields, values, strict=True)}
        for name, curve in curves.items()
        for values in zip(*curve, strict=True)
    ]
    write_table(path, rows, ("run", *ScoreCurve._fields))
