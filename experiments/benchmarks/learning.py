"""A check that `cheetah-dir` still learns: the return after adaptation in the first iterations of short runs."""

import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from metarl.experiments import train
from metarl.experiments.benchmarks.report import show
from metarl.training.callbacks.csv import read_metrics
from metarl.training.run_directory import METRICS

PRESET = "cheetah-dir"
SIZE = {"tasks": "20", "episodes": "20", "iterations": "10"}
ENDS = 3  # iterations whose mean is taken, at either end of a run
# The rises of seeds 1, 2 and 3 were 38.3, 35.9 and 38.4; with discount 0.99, lambda 1 and raw observations, 3.1.
MARGIN = 16.0
RETURN = "rollout/return_step1"


def learning(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure how much the return after one inner step rises from the first three of ten iterations to the last three.

    Three seeds of 20 tasks x 20 episodes are trained, in a quick run one. A seed takes about 45 seconds of one core.

    Raises:
        ValueError: a seed's return has not risen by `MARGIN`.
    """
    rows = [rise(seed) for seed in ((1,) if quick else (1, 2, 3))]
    show(console, "return after adaptation", rows)
    for row in rows:
        require_rise(row)
    return rows


def rise(seed: int) -> dict[str, Any]:
    """Train with a seed, and return the mean returns at both ends of the run."""
    flags = [word for name, value in SIZE.items() for word in (f"--{name}", *value.split())]
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder, "run")
        train.command([PRESET, *flags, "--seed", str(seed), "--run-dir", str(run_dir)])
        returns = [row[RETURN] for row in read_metrics(run_dir / METRICS)]
    first = sum(returns[:ENDS]) / ENDS
    last = sum(returns[-ENDS:]) / ENDS
    return {"seed": seed, "first": first, "last": last, "rise": last - first}


def require_rise(row: dict[str, Any]) -> None:
    """Raise ValueError unless the return has risen by `MARGIN`."""
    if not row["rise"] >= MARGIN:
        raise ValueError(
            f"{PRESET} does not learn: with seed {row['seed']} the return after adaptation rose by {row['rise']:.1f}, "
            f"from {row['first']:.1f} to {row['last']:.1f}, in {SIZE['iterations']} iterations, not by {MARGIN}"
        )
