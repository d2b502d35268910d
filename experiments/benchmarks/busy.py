"""A meta-iteration on a machine whose cores other processes keep busy, beside a quiet one."""

import contextlib
import functools
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from metarl.engine.params import Params
from metarl.experiments.benchmarks.configured import Configured, configured
from metarl.experiments.benchmarks.iteration import SETTINGS
from metarl.experiments.benchmarks.report import seconds, show
from metarl.threads import torch_threads

# Ends with its parent, even one that is killed.
LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"


def busy(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the seconds of a meta-iteration of `cheetah-dir` (40 x 20) on quiet cores and beside other processes.

    These are as many as cores, each in a loop without end. One thread, and then one for each core, computes; quiet and
    busy in turn, medians over 3. `ratio` is the busy time divided by the quiet one.
    """
    cores = len(os.sched_getaffinity(0))
    sizes = {"tasks": 2, "episodes": 2, "horizon": 5} if quick else {"tasks": 40, "episodes": 20, "horizon": 100}
    rows = []
    for threads in sorted({1, cores}):
        ready = configured("cheetah-dir", {**SETTINGS, **sizes, "threads": threads})
        theta = ready.problem.initial_parameters(ready.options.seed)
        iterate = functools.partial(_iterate, ready, theta)
        with torch_threads(threads):
            # The first iteration also allocates.
            iterate()
            quiet = []
            crowded = []
            for _ in range(1 if quick else 3):
                quiet.append(seconds(iterate))
                with others(cores):
                    crowded.append(seconds(iterate))
        medians = {"quiet": statistics.median(quiet), "busy": statistics.median(crowded)}
        ratio = medians["busy"] / medians["quiet"]
        rows.append({"cores": cores, "threads": threads, **medians, "ratio": ratio})
    show(console, "a meta-iteration on a quiet and on a busy machine, seconds", rows)
    return rows


@contextlib.contextmanager
def others(count: int) -> Iterator[list[int]]:
    """Keep cores busy by `count` processes inside the block, which gets their process ids."""
    loops = [subprocess.Popen([sys.executable, "-c", LOOP, str(os.getpid())]) for _ in range(count)]
    try:
        yield [loop.pid for loop in loops]
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _iterate(ready: Configured, theta: Params) -> None:
    """Collect a meta-batch and take an outer step, always the same."""
    objective, _ = ready.problem.collect(theta, 0)
    ready.outer.step(theta, {}, objective)
