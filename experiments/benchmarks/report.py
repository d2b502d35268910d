"""Measuring a call and a reference in turn, and tables of what was measured."""

import statistics
import time
from collections.abc import Callable
from typing import Any

from rich.table import Table


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def relative_cost(call: Callable[[], object], reference: Callable[[], object], repeats: int = 5) -> float:
    """The seconds of a call divided by those of a reference just before it; median over repeats, after a warm-up."""
    reference()
    call()
    pairs = [(seconds(reference), seconds(call)) for _ in range(repeats)]
    return statistics.median(taken / allowed for allowed, taken in pairs)


def table(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table for the console of rows with equal keys."""
    result = Table(title=title)
    for name in rows[0]:
        result.add_column(name.replace("_", "\n"), justify="right")
    for row in rows:
        result.add_row(*(f"{value:.2g}" if isinstance(value, float) else str(value or "-") for value in row.values()))
    return result
