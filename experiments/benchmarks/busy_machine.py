"""A meta-iteration on a machine whose cores other processes keep busy, beside a quiet one."""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console

from metarl.engine.params import Params
from metarl.experiments.benchmarks.changed_presets import Configured, configured
from metarl.experiments.benchmarks.iteration import SETTINGS
from metarl.experiments.benchmarks.report import show
from metarl.threads import torch_threads

# Ends with its parent, even one that is killed.
LOOP = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"


def busy(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the seconds of an iteration of `cheetah-dir` (40 x 20, TRPO) on quiet cores and beside other processes.

    These are as many as cores, each in a loop without end. One thread, and then one for each core, computes; quiet and
    busy in turn, medians over 3. `ratio` is the busy time divided by the quiet one; `collect_ratio` and `outer_ratio`
    are of the stages, sampling with adaptation and the outer step.
    """
    cores = len(os.sched_getaffinity(0))
    sizes = {"tasks": 2, "episodes": 2, "horizon": 5} if quick else {"tasks": 40, "episodes": 20, "horizon": 100}
    rows = []
    for threads in sorted({1, cores}):
        ready = configured("cheetah-dir", {**SETTINGS, **sizes, "threads": threads})
        theta = ready.problem.initial_parameters(ready.options.seed)
        with torch_threads(threads):
            # The first iteration also allocates.
            _iterate(ready, theta)
            quiet: list[dict[str, float]] = []
            crowded: list[dict[str, float]] = []
            for _ in range(1 if quick else 3):
                quiet.append(_iterate(ready, theta))
                with others(cores):
                    crowded.append(_iterate(ready, theta))
        before = {name: statistics.median(lap[name] for lap in quiet) for name in quiet[0]}
        beside = {name: statistics.median(lap[name] for lap in crowded) for name in quiet[0]}
        ratios = {f"{name}_ratio": beside[name] / before[name] for name in ("collect", "outer")}
        medians = {"quiet": before["total"], "busy": beside["total"], "ratio": beside["total"] / before["total"]}
        rows.append({"cores": cores, "threads": threads, **medians, **ratios})
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


def _iterate(ready: Configured, theta: Params) -> dict[str, float]:
    """Collect a meta-batch and take an outer step, always the same: the seconds of both, and in all."""
    start = time.perf_counter()
    objective, _ = ready.problem.collect(theta, 0)
    collected = time.perf_counter()
    ready.outer.step(theta, {}, objective)
    end = time.perf_counter()
    return {"collect": collected - start, "outer": end - collected, "total": end - start}
