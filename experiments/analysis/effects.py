"""Effects of factors on a response, with intervals: two-level factorials, and one factor at a time."""

import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from metarl.training.statistics import CONFIDENCE

LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # no I, as in the tables of designs


class Effect(NamedTuple):
    """The change of the response that a term makes, and half the width of its interval; NaN where unknown."""

    term: str
    estimate: float
    margin: float


def terms(levels: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The columns of -1 and 1 whose effects a two-level design can tell apart, by name.

    Args:
        levels: 0 or 1, [cells, factors].

    Returns:
        Main effects (`A`, `B`, ...), then groups of two-factor interactions that share a column (`AB + CE + ...`), each
        [cells]. An interaction whose column is the opposite of its group's first has a minus sign.

    Raises:
        ValueError: a main effect cannot be told from another, or from a two-factor interaction.
    """
    signs = 2.0 * levels.T - 1.0
    letters = LETTERS[: len(signs)]
    columns = dict(zip(letters, signs, strict=True))
    groups: list[tuple[list[str], NDArray[np.float64]]] = []
    for (first, first_signs), (second, second_signs) in itertools.combinations(columns.items(), 2):
        name = first + second
        column = first_signs * second_signs
        for words, shared in groups:
            if abs(shared @ column) == len(column):
                words.append(f"{'+' if shared @ column > 0 else '-'} {name}")
                break
        else:
            groups.append(([name], column))
    result = columns | {" ".join(words): column for words, column in groups}
    for (first, first_signs), (second, second_signs) in itertools.combinations(result.items(), 2):
        if first_signs @ second_signs != 0:
            raise ValueError(f"the design cannot tell {first} from {second}")
    return result


def factorial_effects(levels: NDArray[np.int64], responses: NDArray[np.float64]) -> list[Effect]:
    """Every term's effect: the mean response where its column is 1, minus the mean where it is -1.

    With several seeds, the standard error is that of `seed_error`, and the interval is Student's. With one seed it is
    Lenth's, which assumes that most terms have no effect, so that their median shows the error (Lenth 1989, "Quick and
    easy analysis of unreplicated factorials").

    Args:
        levels: 0 or 1, [cells, factors].
        responses: of each cell with each seed, [cells, seeds].
    """
    means = responses.mean(1)
    columns = terms(levels)
    estimates = {term: 2.0 * float(column @ means) / len(means) for term, column in columns.items()}
    if responses.shape[1] > 1:
        error, freedom = seed_error(responses)
        margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * 2.0 * error / responses.size**0.5
    else:
        margin = lenth_margin(np.array(list(estimates.values())))
    return [Effect(term, estimate, margin) for term, estimate in estimates.items()]


def lenth_margin(estimates: NDArray[np.float64]) -> float:
    """Lenth's margin of error of unreplicated contrasts: t(1 - alpha / 2, m / 3) times the pseudo standard error."""
    sizes = np.abs(estimates)
    first = 1.5 * np.median(sizes)
    pseudo_error = 1.5 * np.median(sizes[sizes < 2.5 * first]) if first > 0 else 0.0
    return float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(sizes) / 3) * pseudo_error)


def seed_error(responses: NDArray[np.float64]) -> tuple[float, int]:
    """The standard deviation of a run around the sum of its cell's and its seed's effect, and the degrees of freedom.

    Args:
        responses: of each cell with each of at least two seeds, [cells, seeds].
    """
    cells, seeds = responses.shape
    left = responses - responses.mean(1, keepdims=True) - responses.mean(0, keepdims=True) + responses.mean()
    freedom = (cells - 1) * (seeds - 1)
    return float(np.sqrt((left**2).sum() / freedom)), freedom


def differences_from_base(names: list[str], responses: NDArray[np.float64]) -> list[Effect]:
    """Every other cell's mean response minus the first cell's, with the pooled error of `seed_error`.

    Args:
        names: names of the cells, the base first.
        responses: of each cell with each seed, [cells, seeds]; with one seed the margins are NaN.
    """
    means = responses.mean(1)
    seeds = responses.shape[1]
    margin = float("nan")
    if seeds > 1:
        error, freedom = seed_error(responses)
        margin = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error * (2.0 / seeds) ** 0.5
    return [Effect(name, float(mean - means[0]), margin) for name, mean in zip(names[1:], means[1:], strict=True)]
