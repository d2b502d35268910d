"""The contract between a problem and the training loop: the same for supervised and reinforcement learning."""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule
from metarl.metrics import MetricTable
from metarl.randomness import Purpose

Metrics = dict[str, float]


class Evaluation(NamedTuple):
    """How well theta did on N given tasks after 0 .. K gradient steps."""

    scores: dict[str, NDArray[np.float64]]  # name -> [K + 1, N]
    traces: dict[str, NDArray[Any]]  # arrays for figures: navigation paths, fitted curves


class Film(NamedTuple):
    """One task under the parameters of one gradient step, to be looked at: an episode, or a single picture."""

    title: str  # the task in words
    frames: NDArray[np.uint8]  # [F, height, width, 3]
    captions: list[str]  # of each frame: how it is going, in one line or several
    frames_per_second: float = 1.0  # in real time


class Problem(Protocol):
    """A distribution over tasks, a model and its losses. It keeps no state between calls but its settings.

    A problem may also have a method `prepare()`, which makes what `collect` needs, such as environments. `metarl.train`
    calls it before a new run has a directory, so that what cannot be made leaves none behind.
    """

    @property
    def measures(self) -> MetricTable:
        """Declarations of the metrics of `collect`, and of those that validation makes of the scores of `evaluate`."""
        ...

    def initial_parameters(self, seed: int) -> Params:
        """Fresh meta-parameters."""
        ...

    def sample_tasks(self, seed: int, purpose: Purpose, *key: int, count: int) -> NDArray[np.float64]:
        """`count` tasks of the training distribution [count, k], a function of the arguments."""
        ...

    def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
        """Sample tasks and data, adapt, and build the objective of this iteration's outer step."""
        ...

    def refresh(self, theta: Params, objective: MetaObjective) -> Params:
        """Update what no gradient moves, such as running statistics, in the theta that an outer step has made.

        Args:
            theta: meta-parameters after the outer step.
            objective: the objective of `collect` that the step was taken on.
        """
        ...

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
        """Score theta on tasks [N, k] after 0 .. `steps` gradient steps of `rule`.

        `purpose` says what the tasks were drawn for: validation and test draw their data from different generators.
        """
        ...

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
        """Film tasks[index] before adaptation and after each of `steps` gradient steps; `purpose` as in `evaluate`."""
        ...

    def score(self, metrics: Metrics) -> float | None:
        """The score that best.pt is chosen by, higher is better; None where these metrics do not have it."""
        ...
