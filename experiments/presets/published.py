"""The authors' published results: test tasks, per-task returns and scores (Finn et al. 2017)."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metarl.problem import Problem
from metarl.training.config import Config
from metarl.training.evaluation import held_out_tasks

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
        ValueError: the experiment has no published tasks.
    """
    if experiment not in TASKS:
        raise ValueError(f"there are no published test tasks for {experiment!r}, only for {', '.join(TASKS)}")
    seed, draw = TASKS[experiment]
    return draw(np.random.RandomState(seed))


def evaluation_tasks(config: Config, problem: Problem) -> NDArray[np.float64]:
    """The tasks [N, k] that a run is evaluated on: the published tasks, or the run's own held-out tasks.

    Raises:
        ValueError: see `require_published`.
    """
    if not config.problem.protocol.get("published_tasks"):
        return held_out_tasks(problem, config)
    return require_published(config)


def require_published(config: Config) -> NDArray[np.float64]:
    """The published test tasks of a run, as many as the run is evaluated on.

    Raises:
        ValueError: the experiment has no published tasks, too few of them, or tasks of another environment.
    """
    tasks = published_tasks(config.experiment)
    names = config.problem.task_names
    if tasks.shape[1] != len(names):
        raise ValueError(
            f"the published test tasks of {config.experiment!r} are {tasks.shape[1]} numbers each; this environment's "
            f"are {len(names)}: {', '.join(names)}"
        )
    if config.evaluation_tasks > len(tasks):
        raise ValueError(f"there are {len(tasks)} published test tasks; got --tasks {config.evaluation_tasks}")
    return tasks[: config.evaluation_tasks]


def published_returns(experiment: str, method: str) -> NDArray[np.float64]:
    """The authors' average returns [K + 1, 40] of a method after 0 .. K gradient steps; [0, 40] if there are none."""
    with RETURNS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["experiment"], row["method"]) == (experiment, method)]
    returns = np.full((len(rows) // 40, 40), np.nan)
    for row in rows:
        returns[int(row["gradient_steps"]), int(row["task"])] = float(row["average_return"])
    return returns


# dataset, network, ways (1 for a regression), shots -> method -> gradient step -> mean
SCORES: dict[tuple[str, str, int, int], dict[str, dict[int, float]]] = {
    ("sinusoid", "dense", 1, 5): {  # mean squared error
        "maml": {1: 0.67, 5: 0.38, 10: 0.35},
        "pretrained": {1: 2.41, 5: 2.23, 10: 2.19},
    },
    ("omniglot", "strided", 5, 1): {"maml": {3: 0.987}, "maml, first order": {3: 0.983}},  # accuracy; first order:
    ("omniglot", "strided", 5, 5): {"maml": {3: 0.999}, "maml, first order": {3: 0.992}},  # a later paper's
    ("omniglot", "strided", 20, 1): {"maml": {5: 0.958}, "maml, first order": {5: 0.894}},  # reproduction
    ("omniglot", "strided", 20, 5): {"maml": {5: 0.989}, "maml, first order": {5: 0.979}},
    ("omniglot", "dense", 5, 1): {"maml": {3: 0.897}},
    ("omniglot", "dense", 5, 5): {"maml": {3: 0.975}},
    ("mini_imagenet", "pooled", 5, 1): {"maml": {10: 0.487}, "maml, first order": {10: 0.4807}},
    ("mini_imagenet", "pooled", 5, 5): {"maml": {10: 0.6311}, "maml, first order": {10: 0.6315}},
}


def published_scores(dataset: str, network: str, ways: int, shots: int, method: str) -> dict[int, float]:
    """The paper's mean score (tables 1 and 2) by gradient step; {} where the paper has none."""
    key = (dataset, network, 1 if dataset == "sinusoid" else ways, shots)
    return SCORES.get(key, {}).get(method, {})
