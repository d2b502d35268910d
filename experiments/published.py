"""What the authors published: their test tasks and per-task returns (Finn et al. 2017)."""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RETURNS = Path(__file__).parent / "published_returns.csv"


def published_tasks(experiment: str) -> NDArray[np.float64]:
    """The 40 test tasks of the published curves, [40, k].

    Raises:
        ValueError: an experiment without published tasks.
    """
    rng = np.random.RandomState(1)  # the authors' generator and seed
    tasks = {"navigation": lambda: rng.uniform(-0.5, 0.5, (40, 2))}
    if experiment not in tasks:
        raise ValueError(f"there are no published test tasks for {experiment!r}, only for {', '.join(tasks)}")
    return tasks[experiment]()


def published_returns(experiment: str, method: str) -> NDArray[np.float64]:
    """The authors' average returns [K + 1, 40] of a method after 0 .. K gradient steps; [0, 40] if there are none."""
    with RETURNS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["experiment"], row["method"]) == (experiment, method)]
    returns = np.full((len(rows) // 40, 40), np.nan)
    for row in rows:
        returns[int(row["gradient_steps"]), int(row["task"])] = float(row["average_return"])
    return returns
