"""What differs between operating systems."""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

LIMITS = (  # files in which Linux says how many bytes a container may use
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def cores() -> int:
    """How many cores this process may use; where the system does not say so, such as macOS, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """Bytes of memory that this machine has, or a container that the process runs in; None where nothing says so."""
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf, and others may lack the names
        return None
    for limit in LIMITS:
        try:
            sizes.append(int(limit.read_text()))
        except (OSError, ValueError):  # there is no container, or no limit ("max")
            continue
    return min(sizes)


def said_number(variable: str, default: int) -> int:
    """The whole number that an environment variable says; the default where it says nothing.

    Raises:
        ValueError: it says anything else, or a number below 0.
    """
    said = os.environ.get(variable, "").strip()
    if said and not said.isdecimal():
        raise ValueError(f"the environment variable {variable} must be a whole number, at least 0; got {said!r}")
    return int(said) if said else default


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
