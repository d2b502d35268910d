"""Learning curves of a study's finished runs, read from run directories and kept in one small table."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.experiment import Experiment, Training
from metarl.experiments.outputs import write_table
from metarl.reading import numbers, read_object, read_table, reading
from metarl.training.callbacks.csv import read_metrics
from metarl.training.run_directory import CONFIG, METRICS

CURVES = "curves.csv"
RUNS = "runs.csv"
LAST_PART = 0.2  # share of a run's timesteps, the last ones, that `Curve.end` averages over
RETURNS = "rollout/return_step"
# Decimals of returns. They are rounded where runs are read, so that kept curves give the same effects.
DECIMALS = 2


class Curve(NamedTuple):
    """A run's average returns during meta-training, by iteration."""

    timesteps: NDArray[np.float64]  # timesteps sampled so far, those of the iteration included, [I]
    before: NDArray[np.float64]  # return before adaptation, [I]
    after: NDArray[np.float64]  # return after the inner steps that the run trains, [I]

    @property
    def end(self) -> float:
        """The mean return after adaptation over the last part of the timesteps."""
        return float(self.after[self.timesteps > (1.0 - LAST_PART) * self.timesteps[-1]].mean())

    @property
    def whole(self) -> float:
        """The mean return after adaptation over the whole run: high for a run that learns early."""
        return float(self.after.mean())


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


def finished_curve(run_dir: Path, training: Training) -> Curve | None:
    """The curve of a run; None where it is not there, or has iterations to go.

    Raises:
        ValueError: the directory holds a run that was started with other flags.
    """
    rows = read_metrics(run_dir / METRICS)
    wanted = settings(training.arguments)
    if not (run_dir / CONFIG).is_file() or len(rows) < int(wanted["iterations"][0]):
        return None
    with reading(run_dir / CONFIG, "the configuration of a run with its command"):
        made = settings(shlex.split(read_object(run_dir / CONFIG)["command"]))
    for name in sorted({*wanted, *made}):
        ours, theirs = (" ".join(flags.get(name, ("(none)",))) for flags in (wanted, made))
        if ours != theirs:
            raise ValueError(f"{run_dir} is another run: --{name} is {theirs} there and {ours} in the study")
    with reading(run_dir / METRICS, "the metrics of reinforcement learning"):
        last = max(int(name.removeprefix(RETURNS)) for name in rows[0] if name.startswith(RETURNS))
        columns = ("env_steps", f"{RETURNS}0", f"{RETURNS}{last}")
        return Curve(*(np.array([row[name] for row in rows]).round(DECIMALS) for name in columns))


def kept_curves(results: Path, experiment: Experiment) -> dict[str, Curve]:
    """The curves that lie in `results`, of the runs that the experiment still has, with the flags it still gives.

    Raises:
        ValueError: a table is damaged; it is named.
    """
    if not ((results / CURVES).is_file() and (results / RUNS).is_file()):
        return {}
    made = read_table(results / RUNS, ("run", "flags"))
    flags = {row["run"]: settings(row["flags"].split()) for row in made}
    rows = read_table(results / CURVES, ("run",))
    values = [numbers(rows, name, results / CURVES) for name in ("timesteps", "before", "after")]
    runs = np.array([row["run"] for row in rows])
    return {
        run.name: Curve(*(column[runs == run.name] for column in values))
        for run in experiment.runs
        if run.name in runs and flags.get(run.name) == settings(run.flags.split())
    }


def write_curves(path: Path, curves: dict[str, Curve]) -> None:
    """A row per run and iteration."""
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
