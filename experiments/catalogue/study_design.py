"""Designs of studies: factors, their levels, and the combinations of levels and seeds that are run."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Settings = dict[str, str]  # flags of train.py without their dashes -> values


class Factor(NamedTuple):
    """Something that a study varies: its name, and the name and the settings of each of its levels."""

    name: str
    levels: dict[str, Settings]


class Cell(NamedTuple):
    """A combination of levels with a seed, which is one run."""

    name: str  # name of the run
    levels: tuple[int, ...]  # the level of each factor, as its place among the factor's levels
    seed: int


@dataclass(frozen=True)
class Study:
    """Runs that differ in their factors and seeds, and how they are analysed.

    `factorial`: main effects and interactions of two levels each. `one at a time`: the differences of every level from
    the base, which is the first run's.
    """

    factors: tuple[Factor, ...]
    cells: tuple[Cell, ...]
    analysis: Literal["factorial", "one at a time"]

    def words(self, cell: Cell) -> dict[str, str]:
        """The names of a run's levels, by factor."""
        return {
            factor.name: list(factor.levels)[level] for factor, level in zip(self.factors, cell.levels, strict=True)
        }

    def flags(self, cell: Cell, others: Settings) -> str:
        """The flags of a run: `others`, then the settings of its levels, then its seed."""
        settings = dict(others)
        # Base levels are applied first, so that they do not undo what a varied factor sets, such as iterations.
        for factor, level in sorted(zip(self.factors, cell.levels, strict=True), key=lambda pair: pair[1] > 0):
            settings |= list(factor.levels.values())[level]
        settings["seed"] = str(cell.seed)
        return " ".join(f"--{name} {value}" for name, value in settings.items())


def fractional_factorial(
    factors: tuple[Factor, ...],
    generators: Sequence[Callable[..., int]],
    seeds: Sequence[int],
    prefix: str,
) -> Study:
    """A fraction of all combinations of two levels (Box, Hunter and Hunter 2005, chapter 6).

    The first factors take all combinations. The level of each remaining factor is given by a generator, a function of
    the levels (0 or 1) of the first factors. Runs are called PREFIX-LEVELS-seedN.
    """
    free = len(factors) - len(generators)
    cells = []
    for seed in seeds:
        for basic in itertools.product((0, 1), repeat=free):
            levels = (*basic, *(generator(*basic) for generator in generators))
            cells.append(Cell(f"{prefix}-{''.join(map(str, levels))}-seed{seed}", levels, seed))
    return Study(factors, tuple(cells), "factorial")


def one_at_a_time(factors: tuple[Factor, ...], seeds: Sequence[int]) -> Study:
    """The base, which is the first level of every factor, and every other level of every factor alone."""
    base = (0,) * len(factors)
    combinations: dict[str, tuple[int, ...]] = {"base": base}
    for place, factor in enumerate(factors):
        for level, words in enumerate(factor.levels):
            if level:
                name = f"{factor.name} {words}".lower().replace(" ", "-")
                combinations[name] = (*base[:place], level, *base[place + 1 :])
    cells = [Cell(f"{name}-seed{seed}", levels, seed) for seed in seeds for name, levels in combinations.items()]
    return Study(factors, tuple(cells), "one at a time")
