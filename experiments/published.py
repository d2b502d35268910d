"""What the authors published: their test tasks and per-task returns (Finn et al. 2017)."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RETURNS = Path(__file__).parent / "published_returns.csv"

# The authors' seed, and their draws from it; directions are backward in the lower half of the velocities.
TASKS: dict[str, tuple[int, Callable[[np.random.RandomState], NDArray[np.float64]]]] = {
    "navigation": (1, lambda rng: rng.uniform(-0.5, 0.5, (40, 2))),
    "cheetah-vel": (1, lambda rng: rng.uniform(0.0, 2.0, (40, 1))),
    "cheetah-dir": (1, lambda rng: np.where(rng.uniform(0.0, 2.0, (40, 1)) < 1.0, -1.0, 1.0)),
    "ant-vel": (1, lambda rng: rng.uniform(0.0, 3.0, (40, 1))),
    "ant-dir": (2, lambda rng: np.where(rng.uniform(0.0, 3.0, (40, 1)) < 1.5, -1.0, 1.0)),
}


def published_tasks(experiment: str) -> NDArray[np.float64]:
    """The 40 test tasks of the published curves, [40, k].

    Raises:
        ValueError: an experiment without published tasks.
    """
    if experiment not in TASKS:
        raise ValueError(f"there are no published test tasks for {experiment!r}, only for {', '.join(TASKS)}")
    seed, draw = TASKS[experiment]
    return draw(np.random.RandomState(seed))


def published_returns(experiment: str, method: str) -> NDArray[np.float64]:
    """The authors' average returns [K + 1, 40] of a method after 0 .. K gradient steps; [0, 40] if there are none."""
    with RETURNS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["experiment"], row["method"]) == (experiment, method)]
    returns = np.full((len(rows) // 40, 40), np.nan)
    for row in rows:
        returns[int(row["gradient_steps"]), int(row["task"])] = float(row["average_return"])
    return returns


SCORES: dict[tuple[str, int, int], dict[str, dict[int, float]]] = {  # dataset, ways, shots -> method -> step -> mean
    ("sinusoid", 1, 5): {  # mean squared error
        "maml": {1: 0.67, 5: 0.38, 10: 0.35},
        "pretrained": {1: 2.41, 5: 2.23, 10: 2.19},
    },
    ("omniglot", 5, 1): {"maml": {3: 0.987}},  # accuracy
    ("omniglot", 5, 5): {"maml": {3: 0.999}},
    ("omniglot", 20, 1): {"maml": {5: 0.958}},
    ("omniglot", 20, 5): {"maml": {5: 0.989}},
    ("mini_imagenet", 5, 1): {"maml": {10: 0.487}, "maml, first order": {10: 0.4807}},
    ("mini_imagenet", 5, 5): {"maml": {10: 0.6311}, "maml, first order": {10: 0.6315}},
}


def published_scores(dataset: str, ways: int, shots: int, method: str) -> dict[int, float]:
    """The paper's mean score (tables 1 and 2) by gradient step; {} where it prints none. Regression has one way."""
    return SCORES.get((dataset, 1 if dataset == "sinusoid" else ways, shots), {}).get(method, {})
