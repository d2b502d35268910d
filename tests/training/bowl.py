"""A problem that takes no time: a point that rolls down a bowl. The loop needs nothing of its objective."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import metarl
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import Info, OuterOptimizer, State
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule
from metarl.metrics import Metric, MetricTable
from metarl.problem import Evaluation, Film, Metrics
from metarl.randomness import Purpose
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.state import TrainState


class Bowl:
    """Metrics: the height of the point, before and after one step down."""

    measures = MetricTable(
        Metric(name="bowl/height_step{k}", meaning="height", word="height", unit="m", headline=True),
        Metric(name="bowl/steps", meaning="iterations measured", reduction="sum"),
        Metric(name="validation/height_step{k}", meaning="height", word="height", headline=True, score="height"),
    )

    def initial_parameters(self, seed: int) -> Params:
        return {"x": torch.full((3,), float(seed + 1)), "y": torch.ones(2, 2)}

    def sample_tasks(self, seed: int, purpose: Purpose, *key: int, count: int) -> NDArray[np.float64]:
        return np.full((count, 1), 10.0 * seed + purpose)

    def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
        heights = _heights(theta, 1)
        objective: Any = None
        return objective, {f"bowl/height_step{k}": height for k, height in enumerate(heights)} | {"bowl/steps": 1.0}

    def refresh(self, theta: Params, objective: MetaObjective) -> Params:
        return theta

    def evaluate(
        self,
        theta: Params,
        rule: InnerRule,
        steps: int,
        tasks: NDArray[np.float64],
        seed: int,
        *,
        purpose: Purpose = Purpose.EVALUATION_TASKS,
    ) -> Evaluation:
        heights = np.array(_heights(theta, steps))[:, None] + tasks[:, 0]
        return Evaluation({"height": heights, "undeclared": heights}, {"tasks": tasks})

    def pictures(
        self,
        theta: Params,
        rule: InnerRule,
        steps: int,
        tasks: NDArray[np.float64],
        index: int,
        seed: int,
        *,
        purpose: Purpose = Purpose.EVALUATION_TASKS,
    ) -> list[Film]:
        return [Film("bowl", np.zeros((2, 20, 20, 3), np.uint8), ["a", "b"]) for _ in range(steps + 1)]

    def score(self, metrics: Metrics) -> float | None:
        return -metrics["bowl/height_step1"] if "bowl/height_step1" in metrics else None


def _heights(theta: Params, steps: int) -> list[float]:
    height = sum(leaf.square().sum().item() for leaf in theta.values())
    return [height * 0.5**k for k in range(steps + 1)]


def roll() -> OuterOptimizer:
    """Go halfway down, and count the steps."""

    def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        info = {"loss": 1.0, "nonfinite": 0.0}
        return {name: leaf / 2 for name, leaf in theta.items()}, {"steps": state["steps"] + 1}, info

    return OuterOptimizer(lambda theta: {"steps": torch.zeros(())}, step)


def train(run_dir: Path, iterations: int = 3, **options: Any) -> TrainState:
    """Let the point roll in a run directory, without a word to the console."""
    options = {"seed": 1, "sinks": []} | options
    return metarl.train(Bowl(), roll(), run_dir=run_dir, iterations=iterations, **options)


class Diary(Callback):
    """Everything that a callback hears, in order."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def start(self, training: Training, state: TrainState) -> None:
        self.heard.append(("start", training.iterations, state.iteration))

    def measure(self, state: TrainState) -> Metrics:
        return {"diary/pages": float(len(self.heard))}

    def iteration(self, moment: Moment) -> None:
        self.heard.append((moment.iteration, moment.stepped, moment.best, moment.last))

    def close(self, error: BaseException | None) -> None:
        self.heard.append(("close", type(error)))
