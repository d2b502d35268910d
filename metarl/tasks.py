"""Tasks as rows of numbers [n, k]: the splits that they are drawn from, and names for numbers that have none."""

import typing
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = typing.get_args(Split)


def numbered_names(size: int) -> tuple[str, ...]:
    """`task_0`, `task_1` and so on: names of a task's numbers, as environments without names and tables have them."""
    return tuple(f"task_{i}" for i in range(size))
