"""What differs between operating systems."""

import os
from collections.abc import Iterable


def cores() -> int:
    """How many cores this process may use; where the system does not say so, such as macOS, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_to(process: int, wanted: Iterable[int]) -> None:
    """Have a process run on some cores alone, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process, wanted)
