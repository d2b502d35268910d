"""Distributions over tasks, as rows [n, k].

All splits of these distributions draw from the same tasks, with different generators.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from metarl.arrays import Array, Mask
from metarl.rl.environments import TaskDistribution
from metarl.tasks import Split


@dataclass(frozen=True)
class Uniform(TaskDistribution):
    """Every number uniform between its own bounds.

    Args:
        names: k names with units.
        low: k lower bounds.
        high: k upper bounds.
        positive: whether even tasks outside the bounds must be above 0, as masses must.
    """

    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    positive: bool = False

    @property
    def must_be(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What `valid` demands, in words."""
        return "positive numbers" if self.positive else "finite numbers"

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n rows, [n, k]."""
        return rng.uniform(self.low, self.high, (n, len(self.names)))

    def valid(self, tasks: Array) -> Mask:
        """Which rows are finite numbers, and above 0 where they must be, [n]."""
        finite = super().valid(tasks)
        return finite & np.all(tasks > 0, axis=1) if self.positive else finite

    def in_distribution(self, tasks: Array) -> Mask:
        """Which rows are within the bounds, [n]."""
        return np.all((tasks >= self.low) & (tasks <= self.high), axis=1)


@dataclass(frozen=True)
class LogUniform(Uniform):
    """Every number positive, with a logarithm uniform between those of its bounds: halving is as likely as doubling.

    Args:
        names: k names with units.
        low: k lower bounds, above 0.
        high: k upper bounds, above 0.
    """

    positive: bool = True

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n rows, [n, k]."""
        return np.exp(rng.uniform(np.log(self.low), np.log(self.high), (n, len(self.names))))


@dataclass(frozen=True)
class Sign(TaskDistribution):
    """One number, 1 or -1, equally likely: rows come in pairs of both, in random order.

    Of independent draws some meta-batches, and more often the tasks of one rank, would have nearly one sign alone.
    """

    name: str

    must_be = "1 or -1"

    @property
    def names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The number's name."""
        return (self.name,)

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n signs, [n, 1]; of an odd number, the last one is independent."""
        first = rng.choice((-1.0, 1.0), (n + 1) // 2)
        return np.stack([first, -first], axis=1).reshape(-1, 1)[:n]

    def valid(self, tasks: Array) -> Mask:
        """Which rows are 1 or -1, [n]."""
        return np.abs(tasks[:, 0]) == 1

    def in_distribution(self, tasks: Array) -> Mask:
        """Which rows are valid, [n]."""
        return self.valid(tasks)


@dataclass(frozen=True)
class OneOf(TaskDistribution):
    """One of a few rows, equally likely.

    Args:
        names: k names with units.
        rows: all tasks, of k numbers each.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[float, ...], ...]

    @property
    def must_be(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What `valid` demands, in words: the rows."""
        return f"one of {', '.join(map(str, self.rows))}"

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n rows, [n, k]."""
        return np.array(self.rows)[rng.integers(len(self.rows), size=n)]

    def valid(self, tasks: Array) -> Mask:
        """Which tasks are one of the rows, [n]."""
        return (tasks[:, None] == np.array(self.rows)).all(axis=2).any(axis=1)

    def in_distribution(self, tasks: Array) -> Mask:
        """Which tasks are valid, [n]."""
        return self.valid(tasks)


NOTHING = Uniform((), (), ())  # rows without numbers, for goals and variations that do not depend on the task


@dataclass(frozen=True)
class Joint(TaskDistribution):
    """Independent distributions side by side: the numbers of the first, then those of the second, and so on."""

    parts: tuple[TaskDistribution, ...]

    @property
    def names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The names of all parts."""
        return tuple(name for part in self.parts for name in part.names)

    @property
    def must_be(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What `valid` demands, in words: the demands of all parts with numbers."""
        return ", then ".join(part.must_be for part in self.parts if part.names)

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw from each part in turn, [n, k]."""
        return np.concatenate([part.sample(rng, n, split) for part in self.parts], axis=1)

    def valid(self, tasks: Array) -> Mask:
        """Which rows are valid in every part, [n]."""
        return self._in_all(tasks, lambda part, rows: part.valid(rows))

    def in_distribution(self, tasks: Array) -> Mask:
        """Which rows are in the distribution of every part, [n]."""
        return self._in_all(tasks, lambda part, rows: part.in_distribution(rows))

    def _in_all(self, tasks: Array, holds: Callable[[TaskDistribution, Array], Any]) -> Mask:
        ends = np.cumsum([len(part.names) for part in self.parts])
        columns = np.split(tasks, ends[:-1], axis=1)
        return np.logical_and.reduce([holds(part, rows) for part, rows in zip(self.parts, columns, strict=True)])
