"""What a metric is: declared once, beside the code that computes it.

Files, charts, the progress line, tables and figures take names, units and axis labels from the declarations, and ranks
what to do with their shares.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "first rank"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric, or several: `{k}` in its name is any number of gradient steps, `{name}` any word."""

    name: str
    """As in metrics.csv, such as `rollout/return_step{k}`."""
    meaning: str
    """What it measures, as a phrase."""
    word: str = ""
    """A short name for the progress line and for axes; without one, the last part of `name`."""
    unit: str = ""
    """Of its values; none for counts and shares."""
    higher_is_better: bool | None = None
    """None where neither is."""
    reduction: Reduction = "first rank"
    """How the shares of several ranks become one value."""
    headline: bool = False
    """Whether it shows learning: the progress line, the first charts and learning curves are of these."""
    sparse: bool = False
    """Whether it is left out where it is 0."""
    alarm: str = ""
    """Of a share that should be 0: what the progress line says after it if it is not, such as `of episodes broken`."""
    score: str = ""
    """The score of an `Evaluation` whose mean over the validation tasks it is."""

    @property
    def label(self) -> str:
        """What stands at an axis: the word, and the unit."""
        word = self.word or self.name.split("/")[-1].removesuffix("_step{k}").replace("_", " ")
        return f"{word} [{self.unit}]" if self.unit else word

    @property
    def pattern(self) -> str:
        """A regular expression that its names match, and no other's."""
        return re.escape(self.name).replace(r"\{k\}", r"(\d+)").replace(r"\{name\}", ".+")

    def at(self, step: int) -> str:
        """Its name after `step` gradient steps."""
        return self.name.replace("{k}", str(step))

    def steps(self, values: Mapping[str, float]) -> dict[int, float]:
        """Its values among others, by the number of gradient steps, in that order; without `{k}`, that number is 0."""
        found = {}
        for name, value in values.items():
            if match := re.fullmatch(self.pattern, name):
                found[int(match.group(1)) if match.groups() else 0] = value
        return dict(sorted(found.items()))


class MetricTable:
    """Declarations, found by the names of metrics.

    Raises:
        ValueError: two declarations of one name.
    """

    def __init__(self, *metrics: Metric) -> None:
        self._metrics: dict[str, Metric] = {}
        for metric in metrics:
            if self._metrics.setdefault(metric.name, metric) != metric:
                raise ValueError(f"metric {metric.name!r} is declared twice, with different meanings")

    def __iter__(self) -> Iterator[Metric]:
        return iter(self._metrics.values())

    def __add__(self, other: "MetricTable") -> "MetricTable":
        return MetricTable(*self, *other)

    def find(self, name: str) -> Metric | None:
        """The declaration of the metric of that name, such as `rollout/return_step1`; None: it is not declared."""
        if name in self._metrics:
            return self._metrics[name]
        return next((metric for metric in self if re.fullmatch(metric.pattern, name)), None)

    @property
    def headlines(self) -> list[Metric]:
        """Those that show learning."""
        return [metric for metric in self if metric.headline]


def over_ranks(
    totals: Mapping[str, tuple[Tensor | float, Tensor | float]],
    table: MetricTable,
    reduce: Callable[[Tensor], Tensor],
) -> dict[str, float]:
    """Sums over what this rank has -> the metrics of the whole meta-batch, the same on all ranks.

    Args:
        totals: name of a metric -> the sum of its values here, and their number.
        table: has a declaration of each of them. A mean of no value is left out, as is what is declared sparse and 0.
        reduce: sums a float64 tensor over the ranks (`Shard.reduce`); called once.

    Raises:
        ValueError: a metric that is not declared.
    """
    flat = torch.tensor([[float(total), float(count)] for total, count in totals.values()], dtype=torch.float64)
    metrics = {}
    for name, (total, count) in zip(totals, reduce(flat).tolist(), strict=True):
        metric = table.find(name)
        if metric is None:
            raise ValueError(f"metric {name!r} is not declared: add a Metric to the table beside what measures it")
        if metric.reduction == "sum":
            metrics[name] = total
        elif count and (total or not metric.sparse):
            metrics[name] = total / count
    return metrics
