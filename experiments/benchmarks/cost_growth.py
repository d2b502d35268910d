"""The cost of a meta-iteration as its sizes grow: seconds, fitted exponents, peak memory."""

import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from metarl.experiments.benchmarks.changed_presets import built
from metarl.experiments.benchmarks.report import show
from metarl.experiments.benchmarks.sampling import environments
from metarl.experiments.commands.command_line import keep_freed_memory
from metarl.experiments.presets.configuration import preset_config
from metarl.operating_system import cores
from metarl.threads import torch_threads
from metarl.training.config import Config
from metarl.training.tree import with_options

BASE = with_options(preset_config("cheetah-dir"), {"outer": "trpo", "tasks": 20, "episodes": 10, "horizon": 50})
AXES: dict[str, tuple[int, ...]] = {
    "tasks": (5, 20, 80, 320),
    "episodes": (5, 20, 80),
    "horizon": (25, 100, 400),
    "hidden_size": (25, 100, 400),
    "inner_steps": (1, 2, 4),
    "threads": (1, 2, 4, 8, 16),  # as many as there are cores
}
LARGEST = preset_config("ant-dir-paper")  # 40 tasks x 40 episodes x 200 timesteps, all of them used for curvature
SECONDS = ("sample", "outer")


def growth(console: Console, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Measure how the cost grows.

    `environments`: steps per second of the sampler, by number of environments and threads.
    `iteration`: `cheetah-dir` with 20 tasks x 10 episodes x 50 timesteps, one size changed at a time, each in its own
    process: seconds of `sample` (rollouts before and after adaptation) and `outer` (the TRPO step), medians over 3, and
    `peak_mib`, the most memory of the process. The last row is `ant-dir-paper` at full size, the paper's largest.
    `exponents`: exponents of each size, fitted to seconds and memory; 1 is proportional.
    """
    rows = []
    for axis, values in AXES.items():
        chosen = values[:2] if quick else [value for value in values if axis != "threads" or value <= cores()]
        rows += [{"axis": axis, "value": value, **_measured(_resized(axis, value), quick)} for value in chosen]
    rows.append({"axis": LARGEST.preset, "value": 1, **_measured(LARGEST, quick)})
    exponents = []
    for axis in AXES:
        along = [row for row in rows if row["axis"] == axis]
        if len(along) > 1:  # threads, on one core
            exponents.append({"axis": axis, **{name: _exponent(along, name) for name in (*SECONDS, "peak_mib")}})
    show(console, "a meta-iteration by its sizes", rows)
    show(console, "fitted exponents", exponents)
    return {"environments": environments(console, quick=quick), "iteration": rows, "exponents": exponents}


def _resized(axis: str, value: int) -> Config:
    return with_options(BASE, {"hidden_sizes": (value, value)} if axis == "hidden_size" else {axis: value})


def _measured(config: Config, quick: bool) -> dict[str, float]:
    """Measure in a new process, so that its memory is that of this meta-iteration; quick runs share one process."""
    repeats = 1 if quick or config.preset == LARGEST.preset else 3
    if quick:
        config = with_options(config, {"tasks": 2, "episodes": 2, "horizon": 5})
        if config.preset != LARGEST.preset:
            return _measure(config, repeats)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, config, repeats).result()


def _measure(config: Config, repeats: int) -> dict[str, float]:
    """Median seconds of each stage, and peak memory; before several repeats there is one more, which also allocates."""
    keep_freed_memory()
    ready = built(config)
    laps = []
    problem = ready.problem
    outer = ready.outer
    theta = problem.initial_parameters(config.seed)
    with torch_threads(ready.options.threads or cores()):
        for index in range(repeats + 1 if repeats > 1 else 1):
            objective, metrics = problem.collect(theta, index)
            start = time.perf_counter()
            theta, _, _ = outer.step(theta, {}, objective)
            laps.append({"sample": metrics["time/sample"], "outer": time.perf_counter() - start})
    laps = laps[-repeats:]
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: statistics.median(lap[name] for lap in laps) for name in SECONDS} | {
        "peak_mib": int(status["VmHWM"].split()[0]) / 1024
    }


def _exponent(rows: list[dict[str, Any]], name: str) -> float:
    """The slope of log cost over log size."""
    sizes, costs = ([math.log(row[key]) for row in rows] for key in ("value", name))
    return float(np.polyfit(sizes, costs, 1)[0])
