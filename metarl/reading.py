"""Files that may be damaged: each is read whole, or is a ValueError of one line that names it."""

import csv
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.reasons import in_one_line

DAMAGED = (  # what reading damaged bytes has been seen to raise: archives, unpicklers, parsers
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, csv.Error, pickle.UnpicklingError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Re-raise what damaged content raises in this block as a ValueError that names the file, if none does yet.

    Args:
        path: the file.
        kind: what it should be, such as `a table`.
    """
    try:
        yield
    except DAMAGED as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} is damaged, or is not {kind}: {in_one_line(error, 160)}") from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError that names it where there is none."""
    with reading(path, "a JSON object"):
        value = json.loads(path.read_bytes())
        if not isinstance(value, dict):
            raise TypeError(f"it holds {type(value).__name__}")
        return value


def read_table(
    path: Path, columns: Sequence[str] = (), *, data: bytes | None = None, at_least: int = 1
) -> list[dict[str, str]]:
    """The rows of a .csv file, each with a cell for every column.

    Args:
        path: the file.
        columns: names that must be among its columns.
        data: the file's content, where it was read before.
        at_least: how many rows there must be.

    Raises:
        ValueError: it is no such table; it is named.
    """
    with reading(path, "a table"):
        text = (path.read_bytes() if data is None else data).decode()
        head, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
        if lacking := [name for name in columns if name not in head]:
            raise ValueError(f"it has no column {lacking[0]}")
        rows = [line for line in lines if line]
        if not head or len(rows) < at_least:
            raise ValueError(f"it has {len(rows)} rows" if head else "it is empty")
        if short := [i for i, row in enumerate(rows) if len(row) != len(head)]:
            raise ValueError(f"row {short[0]} has {len(rows[short[0]])} cells for {len(head)} columns")
        return [dict(zip(head, row, strict=True)) for row in rows]


def numbers(rows: Sequence[dict[str, str]], column: str, path: Path) -> NDArray[np.float64]:
    """A column of a table that `read_table` read, as numbers. Raises ValueError that names the file where it is not."""
    with reading(path, "a table of numbers"):
        if column not in rows[0]:
            raise ValueError(f"it has no column {column}")
        return np.array([float(row[column]) for row in rows])


def read_arrays(path: Path, data: bytes | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, without unpickling anything. Raises ValueError that names a damaged one.

    Args:
        path: the file.
        data: the file's content, where it was read before.
    """
    with (
        reading(path, "an archive of arrays"),
        np.load(io.BytesIO(path.read_bytes() if data is None else data), allow_pickle=False) as arrays,
    ):
        return dict(arrays)
