"""metrics.csv: one row per iteration, every metric a column."""

import csv
import io
import os
import warnings
from pathlib import Path

from metarl.files import write_atomically, writing
from metarl.problem import Metrics
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.state import TrainState


class Csv(Callback):
    """Write what is measured to a CSV file; a resumed training drops the rows of iterations that it does again.

    Args:
        path: the file.
        every: iterations between those that the problem measures (warns where a resume finds fewer rows).
    """

    def __init__(self, path: Path, every: int = 1) -> None:
        self._path, self._every = path, every
        self._columns: list[str] = []

    def start(self, training: Training, state: TrainState) -> None:
        """Read the rows that stay, and write them anew. Raises ValueError where the file is damaged."""
        rows = [row for row in read_metrics(self._path) if row["iteration"] < state.iteration]
        last = int(rows[-1]["iteration"]) if rows else -1
        if last < state.iteration - self._every:
            warnings.warn(
                f"{self._path} has lost what follows iteration {last}: the run goes on from {state.iteration}",
                stacklevel=2,
            )
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        self._rewrite(rows)

    def iteration(self, moment: Moment) -> None:
        """Add a row; all rows are written anew where a column is new."""
        if not moment.metrics:
            return
        row = {"iteration": float(moment.iteration), **moment.metrics}
        if new := [name for name in row if name not in self._columns]:
            rows = read_metrics(self._path)
            self._columns += new
            self._rewrite([*rows, row])
            return
        with writing(self._path), self._path.open("a", newline="") as file:
            csv.DictWriter(file, self._columns, lineterminator="\n").writerow(_cells(row))
            file.flush()
            os.fsync(file.fileno())  # before the checkpoint that counts it

    def _rewrite(self, rows: list[Metrics]) -> None:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(row) for row in rows)
        write_atomically(self._path, buffer.getvalue().encode())


def read_metrics(path: Path) -> list[Metrics]:
    """The rows of a metrics.csv, without the cells that were not measured in an iteration; [] if there is no file.

    A last line that was never ended, by a process that was killed, does not count.

    Raises:
        ValueError: something else than numbers.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_text().splitlines(keepends=True)
        whole = csv.DictReader(line for line in lines if line.endswith("\n"))
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in whole]
        if not all("iteration" in row for row in rows):
            raise ValueError("a row has no iteration")
        return rows
    except (ValueError, TypeError, csv.Error) as error:  # UnicodeDecodeError is a ValueError; more cells than columns
        raise ValueError(f"{path} is damaged: {error}") from error


def _cells(row: Metrics) -> dict[str, str]:
    """Numbers as text that reads back bitwise the same; whole numbers without a fraction."""
    return {name: str(int(value)) if float(value).is_integer() else repr(float(value)) for name, value in row.items()}
