"""A whole meta-iteration: seconds of its stages, beside open-loop physics or a straightforward implementation."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params
from metarl.engine.solvers import Matvec
from metarl.experiments.benchmarks import straightforward
from metarl.experiments.benchmarks.changed_presets import Configured, built, configured
from metarl.experiments.benchmarks.report import show
from metarl.experiments.benchmarks.sampling import EPISODES, Loops
from metarl.randomness import Purpose
from metarl.threads import torch_threads
from metarl.training.tree import with_options

SETTINGS = {"outer": "trpo", "horizon": 100, "hidden_sizes": (64, 64), "activation": "tanh"}
# What the straightforward implementation computes, in every row.
EXACT = {"curvature": "gauss_newton", "curvature_fraction": 1.0, "curvature_tasks": 1.0, "cg_iterations": 10}
Reference = Callable[[Params, int], dict[str, float]]  # theta, iteration -> seconds by name, `wall` among them


def iteration(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Time an iteration with TRPO of `cheetah-dir` (40 x 20) and `navigation` (20 x 20): seconds, medians over 5.

    Stages are `sample`, `adapt`, `gradient`, `curvature` (all products), `search` (the line search), and `total`. The
    reference runs before each iteration. For the half-cheetah it is as many environment steps of open-loop physics,
    under the actions of an untrained policy. For navigation it is the straightforward implementation, with exact
    products on all timesteps; it is compared with the preset's curvature and with the same products. `ratio` is the
    median over iterations of total divided by reference.
    """
    rows = []
    for preset, tasks, changes, make_reference in (
        ("cheetah-dir", 40, {}, _open_loop),
        ("navigation", 20, {}, _straightforward),
        ("navigation", 20, EXACT, _straightforward),
    ):
        sizes = {"tasks": tasks, "episodes": EPISODES, **SETTINGS, **changes}
        ready = configured(preset, sizes | ({"tasks": 2, "horizon": 5} if quick else {}))
        reference = make_reference(ready)
        theta = ready.problem.initial_parameters(ready.options.seed)
        laps = []
        others = []
        for index in range(2 if quick else 6):
            others.append(reference(theta, index))
            theta, lap = stages(ready, theta, index)
            laps.append(lap)
        # The first iteration also allocates.
        laps = laps[1:]
        others = others[1:]
        medians = {name: statistics.median(lap[name] for lap in laps) for name in laps[0]}
        beside = {f"reference_{name}": statistics.median(other[name] for other in others) for name in others[0]}
        ratio = statistics.median(lap["total"] / other["wall"] for lap, other in zip(laps, others, strict=True))
        curvature = {
            "kind": ready.options.curvature,
            "fraction": ready.options.curvature_fraction,
            "of_tasks": ready.options.curvature_tasks,
            "cg": ready.options.cg_iterations,
        }
        rows.append({"preset": preset, **curvature, **medians, **beside, "ratio": ratio})
    show(console, "a meta-iteration, seconds", rows)
    return rows


def stages(ready: Configured, theta: Params, index: int) -> tuple[Params, dict[str, float]]:
    """Make a meta-iteration with an outer optimiser that keeps no state: theta after it, and the seconds by stage."""
    start = time.perf_counter()
    objective, metrics = ready.problem.collect(theta, index)
    timed = _Timed(objective)
    theta, _, _ = ready.outer.step(theta, {}, timed)
    total = time.perf_counter() - start
    return theta, {"sample": metrics["time/sample"], "adapt": metrics["time/adapt"], **timed.laps, "total": total}


class _Timed(MetaObjective):
    """An objective that measures the seconds of its answers, until its device has computed them."""

    def __init__(self, objective: MetaObjective) -> None:
        self.__dict__ = dict(objective.__dict__)
        self.laps = {"gradient": 0.0, "curvature": 0.0, "search": 0.0}

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        return self._lap("gradient", lambda: super(_Timed, self).loss_and_gradient(theta))

    def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
        return self._lap("search", lambda: super(_Timed, self).loss_and_divergence(theta))

    def curvature(
        self, theta: Params, kind: str, fraction: float = 1.0, task_fraction: float = 1.0, **options: float
    ) -> Matvec:
        whole = super()
        matvec = self._lap("curvature", lambda: whole.curvature(theta, kind, fraction, task_fraction, **options))
        return lambda v: self._lap("curvature", lambda: matvec(v))

    def _lap(self, name: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        if next(iter(self.theta_old.values())).is_cuda:
            torch.cuda.synchronize()
        self.laps[name] += time.perf_counter() - start
        return result


def _open_loop(ready: Configured) -> Reference:
    """Time physics alone, for as many environment steps as before and after adaptation."""
    options = ready.options
    loops = Loops(options.environment, "gymnasium", options.tasks, options.horizon)
    # The open loop repeats the episodes and actions of a closed one.
    loops.closed(0)
    steps = 2 * options.tasks * options.episodes * options.horizon
    return lambda theta, index: {"wall": steps / loops.opened()}


def _straightforward(ready: Configured) -> Reference:
    exact = built(with_options(ready.config, EXACT))
    options = exact.options
    policy = exact.problem.policy
    env = exact.environments(exact.options.episodes)

    # Tensors of one task are so small that a second thread makes this slower.
    @torch_threads(1)
    def run(theta: Params, index: int) -> dict[str, float]:
        wall = time.perf_counter()
        cpu = time.process_time()
        rows = exact.problem.sample_tasks(options.seed, Purpose.TRAINING_TASKS, index, count=options.tasks)
        tasks = straightforward.collect(options, env, policy, theta, np.asarray(rows), index)
        straightforward.outer_step(options, policy, theta, tasks)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    return run
