"""A user's own code with a mistake in each place that metarl calls it from."""

import builtins
import multiprocessing
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from examples.pendulum import GravityPendulum
from torch import Tensor, nn

from metarl.engine.params import Params
from metarl.engine.rules import InnerRule
from metarl.engine.rules.sgd import SGD
from metarl.problem import Metrics
from metarl.supervised.regression import function_regression
from metarl.supervised.tasks import SupervisedTasks
from metarl.training.callbacks.callback import Callback, Moment
from metarl.training.state import TrainState


def mistake(kind: str) -> None:
    raise getattr(builtins, kind)("cannot allocate the user's idea")


class Wrong(GravityPendulum):
    """Raises an error of this kind in this method."""

    def __init__(self, where: str = "step", kind: str = "ValueError", **others: Any) -> None:
        super().__init__(**others)
        self.where, self.kind = where, kind

    def fail(self, here: str) -> None:
        if here == self.where:
            mistake(self.kind)

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Any:
        self.fail("sample_tasks")
        return super().sample_tasks(rng, n)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.fail("reset")
        return super().reset(seed=seed, options=options)

    def step(self, u: Any) -> Any:
        self.fail("step")
        if multiprocessing.parent_process() is not None:  # not in the check
            self.fail("worker")
        if self.where == "nothing":
            return super().step(u)[:4]
        return super().step(u)


gymnasium.register("Wrong-v0", entry_point=f"{__name__}:Wrong", disable_env_checker=True)


class Net(nn.Module):
    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.head = nn.Linear(observation_size, action_size)

    def forward(self, observations: Tensor) -> Tensor:
        mistake("ValueError")
        return self.head(observations)


@dataclass(frozen=True, kw_only=True)
class WrongRule(SGD):
    """Fails at the update."""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
            mistake("ValueError")
            return fast

        return super().build(step_sizes)._replace(update=update)


def unread() -> SupervisedTasks:
    mistake("ValueError")
    return wrong()


def wrong() -> SupervisedTasks:
    """Fails when a task's examples are drawn."""

    def line(x: Any, slope: Any) -> Any:
        mistake("ValueError")
        return x * slope

    return function_regression(line, {"slope": (-1.0, 1.0)}, inputs=(-5.0, 5.0))


class WrongCallback(Callback):
    """Fails after an iteration."""

    def iteration(self, moment: Moment) -> None:
        mistake("ValueError")


class WrongMeasure(Callback):
    """Fails when it measures something."""

    def measure(self, state: TrainState) -> Metrics:
        mistake("KeyError")
        return {}


class WrongEnd(Callback):
    """Fails at the end, and has none of its own before."""

    def close(self, error: BaseException | None) -> None:
        mistake("OSError")


class Licensed(GravityPendulum):
    """Of which four can exist at the same time."""

    exist: ClassVar["weakref.WeakSet[Licensed]"] = weakref.WeakSet()

    def __init__(self) -> None:
        super().__init__()
        Licensed.exist.add(self)
        if len(Licensed.exist) > 4:
            raise RuntimeError("no licence for a fifth")


class Bounded(GravityPendulum):
    """Without a mistake: it knows which tasks it may draw."""

    def in_distribution(self, tasks: Any) -> Any:
        return (tasks[:, 0] >= 5) & (tasks[:, 0] <= 15)


gymnasium.register("Bounded-v0", entry_point=f"{__name__}:Bounded")
