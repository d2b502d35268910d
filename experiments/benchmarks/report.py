"""Measuring a call and a reference in turn, and tables of what was measured."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(calls: Mapping[str, Callable[[], object]], count: int, rounds: int) -> list[dict[str, float]]:
    """Processor time of each call in seconds, by name, in each of several rounds, in which the calls take turns.

    Processor time is right for calls that use one thread; other processes matter less to it than to the clock on the
    wall.

    Args:
        calls: what to measure, by name.
        count: how often to call in a round; the time is divided by it.
        rounds: number of rounds.
    """
    return [{name: _processor_seconds(call, count) / count for name, call in calls.items()} for _ in range(rounds)]


def _processor_seconds(call: Callable[[], object], count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        call()
    return time.process_time() - start


def relative_cost(call: Callable[[], object], reference: Callable[[], object], repeats: int = 5) -> float:
    """The seconds of a call divided by those of a reference just before it; median over repeats, after a warm-up."""
    reference()
    call()
    pairs = [(seconds(reference), seconds(call)) for _ in range(repeats)]
    return statistics.median(taken / allowed for allowed, taken in pairs)


def spread(ratios: list[float]) -> dict[str, float]:
    """The median of ratios, the lowest and the highest."""
    return {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}


def show(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows of figures, by name, as a table. Where the console is narrower than that, each row becomes a column.

    If these columns do not fit beside each other either, they are printed in several tables. What a row lacks is `-`.
    """
    console.print(f"\n{title}", style="italic", highlight=False, markup=False, soft_wrap=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[_cell(row.get(name)) for name in names] for row in rows]
    upright = _table([name.replace("_", "\n") for name in names], cells)
    if _fits(console, upright):
        console.print(upright)
        return
    words = [name.replace("_", " ") for name in names]
    while cells:
        turned = [_turned(words, cells[:count]) for count in range(1, len(cells) + 1)]
        # A single column is printed even if it is too wide.
        count = max((i for i, each in enumerate(turned, start=1) if _fits(console, each)), default=1)
        console.print(turned[count - 1])
        cells = cells[count:]


def _table(header: list[str], lines: list[list[str]]) -> Table:
    result = Table(box=SIMPLE, padding=0, pad_edge=False)
    for name in header:
        result.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        result.add_row(*line)
    return result


def _turned(names: list[str], columns: list[list[str]]) -> Table:
    """A table whose columns are rows of figures, below the first entry of each."""
    first, *lines = ([name, *values] for name, *values in zip(names, *columns, strict=True))
    return _table(first, lines)


def _fits(console: Console, table: Table) -> bool:
    # Asked without these options, a table claims to be no wider than the console.
    unlimited = console.options.update_width(1000)
    return console.measure(table, options=unlimited).maximum <= console.width


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.2g}"
    return "-" if value is None else str(value)
