"""The kinds of problem that a run can have, one a file: its options, and how it is built.

A kind of problem is a part like any other. It builds a `metarl.problem.Problem`, which is all that the training loop,
checkpoints and evaluation know of it.
"""

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.engine.rules import InnerRule
from metarl.metrics import Metric
from metarl.parts import Part, Registry
from metarl.problem import Problem
from metarl.shard import ALONE, Shard

Method = Literal["maml", "pretrained", "oracle", "random"]
WITHOUT_INNER_STEPS: tuple[Method, ...] = ("pretrained", "oracle")
"""Methods that train one model on all tasks, without adaptation."""


class Setting(NamedTuple):
    """What a problem is told of its run."""

    preset: str
    method: Method
    knows_the_task: bool  # whether the model is given the task, and is not adapted
    seed: int
    device: str
    tasks: int  # per meta-batch
    rule: InnerRule  # of training
    inner_steps: int  # that the method trains with
    log_every: int
    evaluate_every: int
    evaluation_steps: int
    evaluation_tasks: int
    validation_tasks: int
    shard: Shard = ALONE


class ProblemOptions(Part, ABC):
    """Base of the problems' options."""

    @property
    @abstractmethod
    def score(self) -> str:
        """The score of an evaluation that tables and figures show."""

    @property
    @abstractmethod
    def drawn_curve(self) -> tuple[Metric, str]:
        """The metric of learning curves in figures, and what it is measured on, in words."""

    @property
    def before_training(self) -> str:
        """Remarks to print before the first iteration."""
        return ""

    @property
    def achieved_name(self) -> str:
        """What the score `achieved` of an evaluation measures, with its unit."""
        return "achieved"

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the numbers of a task, with their units; none where a task is no row of numbers."""
        return ()

    def commanded(self, tasks: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The value of `achieved` that tasks [N, k] ask for, [N]; None where they ask for none."""
        return None

    @abstractmethod
    def build(self, setting: Setting) -> Problem:
        """Make the problem. Raises ValueError for options that the parts refuse."""

    def fitting(self) -> Self:
        """The same options, where a part that nobody chose is replaced if it does not fit the chosen ones."""
        return self

    def recorded(self) -> Self:
        """The same with what a training notes of the world that it begins in, where that is not noted yet."""
        return self

    @abstractmethod
    def require_sensible(self, setting: Setting) -> None:
        """Raise ValueError for options of the run that make no sense for this problem."""

    @property
    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """How an evaluation is made, beside the number of tasks and the step sizes.

        Scores are comparable only where these values are equal.
        """


MOST_AT_A_TIME = 10**8
"""Timesteps or examples of one batch at most; these would take about a terabyte."""


def require_device(device: str) -> None:
    """Raise ValueError for a torch device that this machine does not have."""
    if device != "cpu" and not (device.startswith("cuda") and torch.cuda.is_available()):
        raise ValueError(f"device {device!r} is not available here: use cpu, or cuda on a machine with a GPU")


def require_buildable(setting: Setting) -> None:
    """Raise ValueError for a run that no problem can be built for.

    Its device is missing here, or its rule learns something for more inner steps than training takes.
    """
    require_device(setting.device)
    learned = setting.rule.learned_steps
    if learned and not setting.inner_steps:
        raise ValueError("this rule learns something for each inner step, and training takes none: choose rule sgd")
    if learned > setting.inner_steps:
        raise ValueError(
            f"learned_steps must be at most {setting.inner_steps}, the inner steps of training, because nothing is "
            f"learned for a step that is never taken; got {learned}"
        )


PROBLEMS: Registry[ProblemOptions] = Registry("problem", "metarl.problems", base=ProblemOptions)
