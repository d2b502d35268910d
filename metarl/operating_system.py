"""What differs between operating systems."""

import importlib.util
import os
from collections.abc import Iterable


def cores() -> int:
    """How many cores this process may use; where the system does not say so, such as macOS, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_to(process: int, wanted: Iterable[int]) -> None:
    """Have a process run on some cores alone, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, wanted)


def forget_missing_backend() -> None:
    """Drop a choice of matplotlib's backend that is not installed here, before matplotlib refuses to be imported.

    Jupyter sets MPLBACKEND for all that is started from a notebook, also for a Python that has no Jupyter.
    """
    chosen = os.environ.get("MPLBACKEND", "")
    module = chosen.removeprefix("module://")
    if module != chosen and importlib.util.find_spec(module.split(".")[0]) is None:
        del os.environ["MPLBACKEND"]
