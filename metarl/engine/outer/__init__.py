"""Outer optimisers: how the meta-parameters move, given what a `MetaObjective` answers.

One optimiser a file, its options beside it.
"""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params
from metarl.metrics import Metric
from metarl.parts import Part, Registry

State = dict[str, Tensor]  # saved with every checkpoint
Info = dict[str, float]  # the `outer/*` metrics of a step


class OuterOptimizer(NamedTuple):
    """Two pure functions: one makes a fresh state, the other takes an outer step.

    A step may ask the objective as often as it likes: for the loss and its gradient at other parameters (several epochs
    on one meta-batch), under another outer loss (`MetaObjective.with_outer_loss`), for divergence and curvature.
    """

    init: Callable[[Params], State]
    step: Callable[[Params, State, MetaObjective], tuple[Params, State, Info]]
    measures: tuple[Metric, ...] = ()  # declarations of the metrics in a step's info


LOSS = (
    Metric(name="outer/loss", meaning="meta-loss before the outer step", higher_is_better=False),
    Metric(name="outer/grad_norm", meaning="Euclidean norm of the meta-gradient"),
    Metric(name="outer/nonfinite", meaning="1 where the outer step was refused for something not finite, else 0"),
    Metric(name="outer/nonfinite_{name}", meaning="1 where this was not finite; only there"),
)
"""Declarations of the metrics that every optimiser of this package reports."""

MOVED = (
    Metric(name="outer/improvement", meaning="how far the outer step lowered the meta-loss", higher_is_better=True),
    Metric(name="outer/kl", meaning="mean KL divergence of the adapted policies that the outer step made", unit="nats"),
)
"""Declarations of the metrics that an optimiser reports in addition if it measures how far its step went."""


class Outer(Part):
    """Base of the outer optimisers' options."""

    differentiates: ClassVar[bool] = True
    """Whether it takes the outer loss's gradient through the inner steps."""

    def require_tasks(self, tasks: int) -> None:
        """Raise ValueError for options that make no sense for a meta-batch of that many tasks."""

    def remarks(self, iterations: int) -> list[str]:
        """What to tell the user of a training of that many outer steps, one line each."""
        return []

    def build(self) -> OuterOptimizer:
        """The optimiser."""
        raise NotImplementedError


OUTERS: Registry[Outer] = Registry("outer", "metarl.engine.outer", base=Outer)


def refused(info: Mapping[str, float], prefix: str = "") -> bool:
    """Whether an outer step left the parameters as they were, because it was not finite or its line search failed.

    Args:
        info: the metrics of the step.
        prefix: of the metrics' names, such as `outer/` in metrics.csv.
    """
    return info[f"{prefix}nonfinite"] != 0.0 or info.get(f"{prefix}accepted", 1.0) == 0.0


def nonfinite(**values: float) -> Info:
    """The metrics of a step that is left out: `nonfinite` 1, and `nonfinite_NAME` 1 for each value that is not finite.

    Empty where all values are finite.
    """
    broken = {f"nonfinite_{name}": 1.0 for name, value in values.items() if not math.isfinite(value)}
    return {"nonfinite": 1.0, **broken} if broken else {}
