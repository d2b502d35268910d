"""Tasks as rows of numbers [n, k]: the splits that they are drawn from, and the names of these numbers."""

import typing
from typing import Any, Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = typing.get_args(Split)


def numbered_names(size: int) -> tuple[str, ...]:
    """`task_0`, `task_1` and so on: names of a task's numbers, as environments without names and tables have them."""
    return tuple(f"task_{i}" for i in range(size))


def task_names_of(env: Any, names: Any, size: int) -> tuple[str, ...]:
    """The names of a task's numbers as an environment says them, or numbered ones where it says none (None).

    Raises:
        ValueError: they are not as many different names as a task has numbers.
    """
    if names is None:
        return numbered_names(size)
    listed = () if isinstance(names, str) or not hasattr(names, "__iter__") else tuple(names)
    if len(listed) != size or not all(isinstance(name, str) for name in listed) or len(set(listed)) < size:
        right = f"a list of {size} different names, one for each number of a task"
        raise ValueError(f"{env}: task_names must be {right}; got {names!r}")
    return listed
