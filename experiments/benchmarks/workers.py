"""Environments in worker processes, against a loop over environments and Gymnasium's AsyncVectorEnv."""

import functools
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AsyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from rich.console import Console

from metarl.envs.adapters.gymnasium_loop import LoopVectorEnv
from metarl.experiments.benchmarks.report import show

MILLISECONDS = (0.02, 0.1, 1.0)
WORKERS = (0, 1, 2)


class Busy(gymnasium.Env[NDArray[np.float64], NDArray[np.float64]]):
    """An environment that computes for some time at every timestep; if it slept, it would not compete for the cores.

    Args:
        milliseconds: processor time of a timestep.
    """

    observation_space = Box(-1.0, 1.0, (8,), np.float64)
    action_space = Box(-1.0, 1.0, (2,), np.float64)

    def __init__(self, milliseconds: float) -> None:
        self.seconds = milliseconds / 1000

    def sample_tasks(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Draw n numbers that mean nothing, [n, 1]."""
        return rng.uniform(size=(n, 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode: the observation is all zeros."""
        return np.zeros(8), {}

    def step(self, action: NDArray[np.float64]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Compute for some milliseconds; the observation is all zeros."""
        end = time.thread_time() + self.seconds
        while time.thread_time() < end:
            pass
        return np.zeros(8), 0.0, False, False, {}


def workers(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure environment steps per second of 16 environments by milliseconds of a timestep, the best of three rounds.

    `loop` is one process, `workers_N` are N worker processes, `async` is Gymnasium's, with a process for every
    environment. `ratio` is the speed with most workers divided by that of the loop.
    """
    count, rounds = (2, 1) if quick else (16, 3)
    rows = []
    for milliseconds in MILLISECONDS[:1] if quick else MILLISECONDS:
        make = functools.partial(Busy, milliseconds)
        envs: dict[str, VectorEnv] = {
            "loop" if n == 0 else f"workers_{n}": LoopVectorEnv(make, count, workers=n) for n in WORKERS
        }
        envs["async"] = AsyncVectorEnv([make] * count)
        rates = {name: max(_rate(env, quick) for _ in range(rounds)) for name, env in envs.items()}
        for env in envs.values():
            env.close()
        ratio = rates[f"workers_{WORKERS[-1]}"] / rates["loop"]
        rows.append({"milliseconds": milliseconds, "num_envs": count, **rates, "ratio": ratio})
    show(console, "workers", rows)
    return rows


def _rate(env: VectorEnv, quick: bool) -> float:
    """Environment steps per second, measured for a second."""
    env.reset(seed=0)
    actions = np.zeros((env.num_envs, 2))
    steps = 0
    start = time.perf_counter()
    while time.perf_counter() - start < (0.0 if quick else 1.0) or not steps:
        env.step(actions)
        steps += env.num_envs
    return steps / (time.perf_counter() - start)
