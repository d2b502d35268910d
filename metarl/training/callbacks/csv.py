"""metrics.csv: one row per iteration, every metric a column."""

import csv
import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from metarl.files import write_atomically, writing
from metarl.metrics import rounded
from metarl.problem import Metrics
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.migration import present_metric
from metarl.training.state import TrainState


class Csv(Callback):
    """Write metrics to a CSV file; a resumed training drops the rows of iterations that it makes again.

    Args:
        path: the file.
        every: iterations between those with metrics; a resume warns if more rows than that are missing.
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        self._path = path
        self._every = every
        self._columns: list[str] = []

    def start(self, training: Training, state: TrainState) -> None:
        """Keep the rows of earlier iterations alone. Raises ValueError where the file is damaged."""
        rows = [row for row in read_metrics(self._path) if row["iteration"] < state.iteration]
        last = int(rows[-1]["iteration"]) if rows else -1
        if last < state.iteration - self._every:
            lost = f"what follows iteration {last}" if rows else "all of its rows"
            warnings.warn(f"{self._path} has lost {lost}: the run goes on from {state.iteration}", stacklevel=2)
        self._columns = write_metrics(self._path, rows)

    def iteration(self, moment: Moment) -> None:
        """Add a row; where a metric is new, write the whole file again with one more column."""
        if not moment.metrics:
            return
        row = {"iteration": float(moment.iteration), **moment.metrics}
        if any(name not in self._columns for name in row):
            self._columns = write_metrics(self._path, [*read_metrics(self._path), row])
            return
        with writing(self._path), self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(_cells(row))
            file.flush()
            # The row must be on disk before the checkpoint that counts its iteration.
            os.fsync(file.fileno())


def write_metrics(path: Path, rows: Sequence[Metrics], digits: int | None = None) -> list[str]:
    """Write a metrics.csv, whole or not at all.

    Args:
        path: the file.
        rows: one for each iteration.
        digits: significant ones of fractions; None writes numbers that read back bitwise the same.

    Returns:
        The names of its columns: every metric of any row, in the order of their first row.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row, digits) for row in rows)
    write_atomically(path, buffer.getvalue().encode())
    return columns


def read_metrics(path: Path) -> list[Metrics]:
    """The rows of a metrics.csv, without their empty cells, with the present names of metrics; [] if there is no file.

    A last line without an end, from a process that was killed, is left out.

    Raises:
        ValueError: the file has anything but numbers.
    """
    if not path.is_file():
        return []
    try:
        # Spreadsheets begin a file with a mark of its encoding.
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
        if lines and not lines[0].endswith("\n"):
            raise ValueError("its first line has no end")
        whole = csv.DictReader(line for line in lines if line.endswith("\n"))
        rows = [{present_metric(name): float(cell) for name, cell in row.items() if cell} for row in whole]
        if not all("iteration" in row for row in rows):
            raise ValueError("a row has no iteration")
        return rows
    # Undecodable text is a ValueError, a row with more cells than columns a TypeError.
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _cells(row: Metrics, digits: int | None = None) -> dict[str, str]:
    """Write numbers as text: whole numbers without a fraction, others with `digits` significant digits (None: all)."""

    def text(value: float) -> str:
        if digits is not None and not value.is_integer():
            value = rounded(value, digits)
        return str(int(value)) if value.is_integer() else repr(value)

    return {name: text(float(value)) for name, value in row.items()}
