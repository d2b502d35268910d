"""Tasks from a file: rows of numbers as .csv, .npy or .json.

Axes: N tasks, k numbers of a task.
"""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.reading import DAMAGED
from metarl.rl.environments import TaskDistribution
from metarl.tasks import numbered_names

NUMBER = re.compile(
    r"\s*[-+]?(\.?\d|(inf|infinity|nan)\b)", re.IGNORECASE
)  # the beginning of a word that no head line has


def read_tasks(path: Path, distribution: TaskDistribution) -> NDArray[np.float64]:
    """Read the tasks [N, k] of a file; they may be outside the training distribution.

    Args:
        path: a .csv file (a head line is not needed; of evaluation.csv the columns task_0, task_1 .. are taken), an
            .npy file, or a .json file (a list of rows). Where k is 1, a row may be a number.
        distribution: says how many numbers a task has, and which are valid.

    Raises:
        ValueError: the file is of another kind, rows have another length, or a row is no valid task.
        OSError: the file cannot be read.
    """
    names = ", ".join(distribution.names)
    readers = {".csv": _of_csv, ".npy": lambda file, size: np.load(file, allow_pickle=False), ".json": _of_json}
    if path.suffix.lower() not in readers:
        raise ValueError(f"a file of tasks must end in {', '.join(readers)}; got {path}")
    size = len(distribution.names)
    try:
        rows = np.asarray(readers[path.suffix.lower()](path, size), np.float64)
    except FileNotFoundError:
        raise
    except DAMAGED as error:
        raise ValueError(f"{path} must hold rows of {size} numbers ({names}): {error}") from error
    if rows.ndim == 1 and size == 1:
        rows = rows[:, None]
    if rows.ndim != 2 or rows.shape[1] != size or len(rows) == 0:
        raise ValueError(f"{path} must hold rows of {size} numbers ({names}), at least one; got {rows.shape}")
    valid = distribution.valid(rows)
    if not valid.all():
        i = np.flatnonzero(~valid)[0]
        raise ValueError(f"{path}: tasks must be {distribution.must_be} ({names}); row {i} is {rows[i].tolist()}")
    return rows


def _of_csv(path: Path, size: int) -> Any:
    # Spreadsheets begin a file with a mark of its encoding, which the first number would be read with.
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and not any(map(NUMBER.match, lines[0])):
        head, *lines = lines
        wanted = numbered_names(size)
        if set(wanted) <= set(head):
            places = [head.index(name) for name in wanted]
            lines = [[line[place] for place in places] for line in lines]
            # evaluation.csv has a row for every gradient step of a task.
            lines = list(dict.fromkeys(map(tuple, lines)))
    return [[float(value) for value in line] for line in lines]


def _of_json(path: Path, size: int) -> Any:
    return json.loads(path.read_text(encoding="utf-8-sig"))
