"""Supervised learning as a problem: tasks of a dataset, examples, a network (Finn et al. 2017, algorithm 2)."""

import dataclasses
import os
import shutil
import sysconfig
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from metarl.arguments import require_at_most
from metarl.metrics import Metric
from metarl.parts import HIDDEN, MAY_CHANGE, RECORDED, at_least
from metarl.problems import MOST_AT_A_TIME, PROBLEMS, WITHOUT_INNER_STEPS, ProblemOptions, Setting, require_buildable
from metarl.supervised.conformance import complaint
from metarl.supervised.datasets import DATASETS, Dataset
from metarl.supervised.metrics import headline
from metarl.supervised.networks import NETWORKS, Network
from metarl.supervised.outer_losses import OUTER_LOSSES, OuterLoss
from metarl.supervised.outer_losses.last_step import LastStep
from metarl.supervised.problem import ExampleSettings, MetaSupervised
from metarl.supervised.tasks import KindName, SupervisedTasks

TRACED_TASKS = 3  # tasks whose examples and outputs the figures draw


@PROBLEMS.register("supervised")
@dataclass(frozen=True, kw_only=True)
class Supervised(ProblemOptions):
    """Supervised learning: examples of tasks that a dataset draws."""

    shots: Annotated[int, at_least(1)] = 1
    """K: support examples (of each class)."""
    queries: Annotated[int, at_least(1)] = 1
    """Query examples (of each class) in training."""
    evaluation_queries: Annotated[int, at_least(1), MAY_CHANGE] = 1
    """Query examples (of each class) at evaluation."""
    evaluation_transductive: Annotated[bool, MAY_CHANGE] = True
    """Predict the query examples of a task together at evaluation, as the paper does, so that batch norm sees them all.
    Otherwise each is predicted by itself, in one batch with the support."""
    compile: Annotated[bool, MAY_CHANGE] = True
    """Compile the meta-gradient with torch.compile where there are a C++ compiler and Python's headers and the device
    is the CPU: a minute or two at the first start, seconds later on, then iterations are two to four times as fast.
    Last bits differ."""

    dataset: Annotated[Dataset, DATASETS]
    """Where tasks come from."""
    network: Annotated[Network, NETWORKS]
    """What predicts."""
    outer_loss: Annotated[OuterLoss, OUTER_LOSSES] = LastStep()
    """What the outer step minimises."""

    examples_in_training: Annotated[tuple[float, ...] | None, HIDDEN, RECORDED] = None
    """Means of examples of the dataset that training began with; see `SupervisedTasks.signature`."""

    def recorded(self) -> "Supervised":
        """The same with the signature of the dataset."""
        if self.examples_in_training is not None:
            return self
        with warnings.catch_warnings():
            # `build` says the same again.
            warnings.simplefilter("ignore")
            tasks = self.dataset.build()
        # Only MODULE:NAME is of a user; the tests have the project's own datasets keep the contract.
        is_users = ":" in DATASETS.name_of(self.dataset)
        if is_users and (words := complaint(tasks, self.shots, self.queries)):
            warnings.warn(f"the dataset does not keep its contract, which check_dataset checks: {words}", stacklevel=2)
        return dataclasses.replace(self, examples_in_training=tasks.signature())

    def _warn_of_other(self, tasks: SupervisedTasks) -> None:
        """Warn where the dataset is not that of training, where this is known."""
        trained = self.examples_in_training
        # Pictures are decoded a little differently by other versions of libraries.
        if trained is not None and not np.allclose(trained, tasks.signature(), rtol=2e-3, atol=2e-3, equal_nan=True):
            warnings.warn(
                "the examples are others than those that training began with: is it the same data?", stacklevel=2
            )

    @property
    def kind(self) -> KindName:
        """Whether this is a regression or a classification; a dataset that does not say so is built to see."""
        return getattr(self.dataset, "kind", None) or self.dataset.build().kind

    @property
    def score(self) -> str:
        """The accuracy of a classification, the loss of a regression."""
        return headline(self.kind).score

    @property
    def drawn_curve(self) -> tuple[Metric, str]:
        """The score on validation tasks, because that on the meta-batch is noisy."""
        return headline(self.kind), "validation tasks"

    @property
    def before_training(self) -> str:
        """Say whether there is a compilation to wait for."""
        if not self.compile:
            return ""
        compiles = "the first iteration compiles, for a minute, or seconds where torch has it from an earlier run"
        lacking = _lacking_for_compilation()
        return f"meta-gradient: {f'without torch.compile: {lacking}' if lacking else compiles}"

    @property
    def protocol(self) -> dict[str, Any]:
        """Examples per task, and whether queries are predicted together."""
        return {
            "shots": self.shots,
            "queries": self.evaluation_queries,
            "transductive": self.evaluation_transductive,
        }

    def require_sensible(self, setting: Setting) -> None:
        """Raise ValueError for a method or sizes that make no sense for these tasks."""
        ways = getattr(self.dataset, "ways", 1)
        examples = setting.tasks * ways * (self.shots + max(self.queries, self.evaluation_queries))
        if examples > MOST_AT_A_TIME:
            words = "tasks x ways x (shots + queries)"
            raise ValueError(f"{words} must be at most {MOST_AT_A_TIME:,}; got {examples}")
        for name in ("evaluation_tasks", "validation_tasks"):
            require_at_most(MOST_AT_A_TIME, **{name: getattr(setting, name)})
        # best.pt is chosen on validation tasks, by the score after as many steps as in training.
        if setting.evaluate_every < 1:
            raise ValueError(f"evaluate_every must be at least 1; got {setting.evaluate_every}")
        if setting.evaluation_steps < setting.inner_steps:
            raise ValueError(
                f"evaluation_steps must be at least inner_steps, {setting.inner_steps}; got {setting.evaluation_steps}"
            )
        if setting.method in WITHOUT_INNER_STEPS and self.kind == "classification":
            raise ValueError(
                f"method {setting.method!r} makes no sense for a classification, whose labels mean nothing outside a "
                "task: choose maml or random"
            )

    def build(self, setting: Setting) -> MetaSupervised:
        """Make the problem of supervised MAML.

        Raises:
            ValueError: images that are missing or cannot be read, more ways or shots than there are, a network that
                does not fit, an outer loss that needs more inner steps.
        """
        require_buildable(setting)
        step_weights = self.outer_loss.build(setting.inner_steps)
        tasks = self.dataset.build()
        tasks.require_examples(self.shots, max(self.queries, self.evaluation_queries))
        self._warn_of_other(tasks)
        if setting.knows_the_task:
            tasks = tasks.with_task_in_inputs()
        return MetaSupervised(
            tasks.distribution,
            self.network.build(tasks.input_shape, tasks.outputs, tasks.kind),
            tasks.kind,
            setting.rule,
            inner_steps=setting.inner_steps,
            settings=ExampleSettings(
                tasks=setting.tasks,
                shots=self.shots,
                queries=self.queries,
                evaluation_queries=self.evaluation_queries,
                log_every=setting.log_every,
                traced_tasks=TRACED_TASKS,
                transductive=self.evaluation_transductive,
            ),
            seed=setting.seed,
            device=setting.device,
            compiled=self.compile and setting.device == "cpu" and not _lacking_for_compilation(),
            shard=setting.shard,
            step_weights=step_weights,
        )


def _lacking_for_compilation() -> str:
    """What torch.compile needs and is not here, in words; empty where all is here."""
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        return "there is no C++ compiler"
    # Distributions have the headers in a package of their own.
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "there is no Python.h (Debian, Ubuntu: apt-get install python3-dev)"
    return ""
