"""Small vector environments for tests: without physics, each with one property that matters."""

from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray


class World(VectorEnv[Any, Any, Any]):
    """Tasks are numbers; subclasses say what is seen and paid."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    single_observation_space: Space = Box(-np.inf, np.inf, (2,), np.float64)
    single_action_space: Space = Box(-1, 1, (1,), np.float64)

    def __init__(self, num_envs: int, horizon: int = 5) -> None:
        self.num_envs, self.horizon = num_envs, horizon

    def sample_tasks(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.uniform(-1, 1, (n, 1))

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.tasks = np.asarray((options or {})["tasks"])
        self.t = 0
        return self.seen(), {}

    def seen(self) -> Any:
        return np.stack([np.full(self.num_envs, self.t / 10), np.ones(self.num_envs)], 1)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.t += 1
        rewards, broken, info = self.paid(np.asarray(actions))
        ended = np.full(self.num_envs, self.t >= self.horizon)
        return self.seen(), rewards, broken, ended & ~broken, info | {"diverged": broken}

    def paid(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, Any]]:
        raise NotImplementedError


class Fragile(World):
    """Pays -1 a timestep, whatever is done; breaks on actions above 1: to break is the only way to a higher return."""

    def paid(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, Any]]:
        return np.full(self.num_envs, -1.0), actions[:, 0] > 1, {}


class Target(World):
    """Pays for actions that are near the task, and shows the last one."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.last = np.zeros(self.num_envs)
        return super().reset(seed=seed, options=options)

    def seen(self) -> Any:
        return np.stack([np.full(self.num_envs, self.t / 10), self.last], 1)

    def paid(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, Any]]:
        self.last = actions[:, 0].astype(np.float64)
        return -((actions[:, 0] - self.tasks[:, 0]) ** 2), np.zeros(self.num_envs, np.bool_), {}


class Levers(World):
    """Three levers, numbered from 1; the task says which one pays. What is seen is a dict of no use."""

    single_observation_space = Dict({"place": Discrete(2), "time": Box(0, 1, (1, 1), np.float64)})
    single_action_space = Discrete(3, start=1)

    def sample_tasks(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        return rng.integers(1, 4, (n, 1)).astype(np.float64)

    def seen(self) -> Any:
        return {"place": np.ones(self.num_envs, np.int64), "time": np.full((self.num_envs, 1, 1), self.t / 10)}

    def paid(self, actions: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_], dict[str, Any]]:
        assert actions.shape == (self.num_envs,) and actions.dtype == np.int64
        right = actions == self.tasks[:, 0]
        cost = np.full(self.num_envs, -0.1)
        info = {"reward/lever": right.astype(np.float64), "reward/cost": cost, "success": right}
        return right + cost, np.zeros(self.num_envs, np.bool_), info
