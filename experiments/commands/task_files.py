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

UNIT = re.compile(r"\s*\[.*\]$")  # behind a name
NUMBER = re.compile(
    r"\s*[-+]?(\.?\d|(inf|infinity|nan)\b)", re.IGNORECASE
)  # the beginning of a word that no head line has


def read_tasks(path: Path, distribution: TaskDistribution) -> NDArray[np.float64]:
    """Read the tasks [N, k] of a file; they may be outside the training distribution.

    Args:
        path: a .csv file (a head line is not needed; columns that it names as the distribution does are taken in the
            distribution's order, of evaluation.csv task_0, task_1 ..), an .npy file, or a .json file (a list of rows).
            Where k is 1, a row may be a number.
        distribution: says how many numbers a task has, and which are valid.

    Raises:
        ValueError: the file is of another kind, rows have another length, or a row is no valid task.
        OSError: the file cannot be read.
    """
    names = ", ".join(distribution.names)
    readers = {
        ".csv": lambda file: _of_csv(file, distribution.names),
        ".npy": lambda file: np.load(file, allow_pickle=False),
        ".json": lambda file: json.loads(file.read_text(encoding="utf-8-sig")),
    }
    if path.suffix.lower() not in readers:
        raise ValueError(f"a file of tasks must end in {', '.join(readers)}; got {path}")
    size = len(distribution.names)
    try:
        rows = np.asarray(readers[path.suffix.lower()](path), np.float64)
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


def _of_csv(path: Path, names: tuple[str, ...]) -> Any:
    # Spreadsheets begin a file with a mark of its encoding, which the first number would be read with.
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and not any(map(NUMBER.match, lines[0])):
        head, *lines = lines
        numbered = numbered_names(len(names))
        is_evaluation = set(numbered) <= set(head)
        if places := _places(head, numbered if is_evaluation else names):
            lines = [_at(places, line) for line in lines]
        if is_evaluation:
            # It has a row for every gradient step of a task.
            lines = list(dict.fromkeys(map(tuple, lines)))
    return [[float(value) for value in line] for line in lines]


def _at(places: list[int], line: list[str]) -> list[str]:
    if len(line) <= max(places):
        raise ValueError(f"a row has {len(line)} numbers: {','.join(line)}")
    return [line[place] for place in places]


def _places(head: list[str], names: tuple[str, ...]) -> list[int]:
    """The columns of the names, with or without their units, in a head line; [] where it has none of them.

    Raises:
        ValueError: it has some of them, or with other units, so that what the columns are is in doubt.
    """
    found = [word.strip().lower() for word in head]
    known = [{name.lower(), UNIT.sub("", name.lower())} for name in names]
    places = [[i for i, word in enumerate(found) if word in words] for words in known]
    if all(len(some) == 1 for some in places):
        return [some[0] for some in places]
    if any(UNIT.sub("", word) in words for word in found for words in known):
        raise ValueError(f"its columns must be named {', '.join(names)}; they are {', '.join(head)}")
    return []
