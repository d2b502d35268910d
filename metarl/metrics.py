"""Declarations of metrics, each made once, beside the code that computes the metric.

Files, charts, the progress line, tables and figures take names, units and axis labels from a declaration, and ranks
take from it how their shares become one value.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Reduction = Literal["sum", "mean", "first rank"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric, or several: `{k}` in a name stands for any number of gradient steps, `{name}` for any word."""

    name: str
    """The name in metrics.csv, such as `rollout/return_step{k}`."""
    meaning: str
    """What is measured, as a phrase."""
    word: str = ""
    """A short name for the progress line and for axes; without one, the last part of `name`."""
    unit: str = ""
    """Unit of the values; none for counts and shares."""
    higher_is_better: bool | None = None
    """Whether higher values are better; None where neither higher nor lower is."""
    reduction: Reduction = "first rank"
    """How the shares of several ranks become one value."""
    headline: bool = False
    """Whether the metric shows learning: the progress line, the first charts and learning curves have these metrics."""
    sparse: bool = False
    """Whether a value of 0 is left out."""
    alarm: str = ""
    """For a share that should be 0: what the progress line says after another value, such as `of episodes broken`."""
    score: str = ""
    """The name of a score in an `Evaluation`, where the metric is its mean over the validation tasks."""

    @property
    def label(self) -> str:
        """The label of an axis: the word, and the unit in brackets."""
        word = self.word or self.name.split("/")[-1].removesuffix("_step{k}").replace("_", " ")
        return f"{word} [{self.unit}]" if self.unit else word

    @property
    def pattern(self) -> str:
        """A regular expression that fits this metric's names and no other's."""
        return re.escape(self.name).replace(r"\{k\}", r"(\d+)").replace(r"\{name\}", ".+")

    def as_score(self, value: float) -> float:
        """A value as a score, of which higher is better: negated where lower values are better.

        Raises:
            ValueError: the declaration does not say which values are better.
        """
        if self.higher_is_better is None:
            raise ValueError(f"metric {self.name!r} must say whether higher is better to be a score")
        return value if self.higher_is_better else -value

    def at(self, step: int) -> str:
        """The metric's name after `step` gradient steps."""
        return self.name.replace("{k}", str(step))

    def steps(self, values: Mapping[str, float]) -> dict[int, float]:
        """This metric's values among `values`, by the number of gradient steps, in order; 0 for a name without {k}."""
        found = {}
        for name, value in values.items():
            if match := re.fullmatch(self.pattern, name):
                found[int(match.group(1)) if match.groups() else 0] = value
        return dict(sorted(found.items()))


class MetricTable:
    """Declarations of metrics, to be found by name.

    Raises:
        ValueError: two different declarations have one name.
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
        """The declaration of the metric of that name, such as `rollout/return_step1`; None if there is none."""
        if name in self._metrics:
            return self._metrics[name]
        return next((metric for metric in self if re.fullmatch(metric.pattern, name)), None)

    @property
    def headlines(self) -> list[Metric]:
        """The metrics that show learning."""
        return [metric for metric in self if metric.headline]


def over_ranks(
    totals: Mapping[str, tuple[Tensor | float, Tensor | float]],
    table: MetricTable,
    reduce: Callable[[Tensor], Tensor],
) -> dict[str, float]:
    """Make metrics of the whole meta-batch, the same on all ranks, of each rank's sums.

    A mean of no value is left out, and so is a 0 of a metric that is declared sparse.

    Args:
        totals: name of a metric -> the sum of its values on this rank, and their number.
        table: declares every one of these metrics.
        reduce: sums a float64 tensor over the ranks (`Shard.reduce`); called once.

    Raises:
        ValueError: a metric is not declared.
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


def number(value: float, digits: int = 4) -> str:
    """`digits` significant digits, or all that stand before the point: no powers of ten for what is large."""
    return f"{value:.0f}" if 10**digits - 0.5 <= abs(value) < 1e12 else f"{value:.{digits}g}"


def rounded(value: float, digits: int) -> float:
    """The number that `digits` significant digits of a value say."""
    return float(f"{value:.{digits}g}")


def numbers_by_name(who: str, measured: Any) -> dict[str, float]:
    """What somebody's code measured, as numbers by name. Raises ValueError, which begins with `who`, for anything else.

    A value is one number, and no text that float() would read.
    """
    if not (isinstance(measured, dict) and all(isinstance(name, str) for name in measured)):
        raise ValueError(f"{who} must measure numbers by name, and {{}} where it measures nothing; got {measured!r}")
    return {name: _number(who, name, value) for name, value in measured.items()}


def _number(who: str, name: str, value: Any) -> float:
    try:
        if not isinstance(value, str | bytes):
            return float(value)
    except (TypeError, ValueError, RuntimeError):
        # None, arrays and tensors of several numbers, and others.
        pass
    raise ValueError(f"{who} measures {name!r}, which must be a number; got {value!r}")
