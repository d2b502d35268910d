"""Learning curves as points: scores over iterations, over timesteps of the environment, or over seconds of training."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.figures.evaluated_runs import Run

XAxis = Literal["iterations", "timesteps", "seconds"]
WORDS: dict[XAxis, str] = {
    "iterations": "meta-iteration",
    "timesteps": "timesteps of the environment",
    "seconds": "seconds of meta-training",
}
COLUMNS: dict[XAxis, str] = {"iterations": "iteration", "timesteps": "env_steps", "seconds": "time/iteration"}


def points(run: Run, score: str, x: XAxis) -> NDArray[np.float64]:
    """The rows [I, 2] of (x, score) of a run's metrics that have the score; [0, 2] if none has.

    Timesteps are those sampled up to and with an iteration. Seconds are those of the meta-iterations, without
    validation and files; where only some iterations were logged, those between count as the next one that was.

    Raises:
        ValueError: the metrics do not have what x asks for.
    """
    rows = [row for row in run.metrics if score in row]
    if not rows:
        return np.zeros((0, 2))
    if not any(COLUMNS[x] in row for row in run.metrics):
        raise ValueError(f"--x {x} means nothing for {run.directory}: its metrics have no {COLUMNS[x]}")
    along = _along(run.metrics, x)
    return np.array([(along[row["iteration"]], row[score]) for row in rows])


def _along(metrics: Sequence[dict[str, float]], x: XAxis) -> dict[float, float]:
    """Iteration -> x; what was not measured in an iteration is as it was before."""
    found: dict[float, float] = {}
    now = 0.0
    last = -1.0
    for row in metrics:
        if x == "iterations":
            now = row["iteration"]
        elif x == "timesteps":
            now = row.get("env_steps", now)
        elif "time/iteration" in row:
            now += row["time/iteration"] * (row["iteration"] - last)
            last = row["iteration"]
        found[row["iteration"]] = now
    return found
