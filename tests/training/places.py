"""Environments for tests of options, as parts: episodes that break, and actions that are switches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from metarl.rl.environments import Environment, TaskDistribution
from metarl.tasks import Split

SEEN = Box(-np.inf, np.inf, (2,), np.float64)


class Numbers(TaskDistribution):
    """Tasks that are one number."""

    names = ("number",)

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> NDArray[np.float64]:
        return rng.uniform(-1, 1, (n, 1))

    def in_distribution(self, tasks: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.abs(tasks[:, 0]) <= 1


class Place(VectorEnv[Any, Any, Any]):
    """Pays for actions near the task. What is seen is the time and the last action."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    single_observation_space: Space = SEEN

    def __init__(self, num_envs: int, horizon: int, actions: Space) -> None:
        self.num_envs, self.horizon, self.single_action_space = num_envs, horizon, actions

    def sample_tasks(self, rng: np.random.Generator, n: int, split: Split = "train") -> NDArray[np.float64]:
        return Numbers().sample(rng, n, split)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.tasks, self.time, self.last = np.asarray((options or {})["tasks"]), 0, np.zeros(self.num_envs)
        return self.seen(), {}

    def seen(self) -> Any:
        return np.stack([np.full(self.num_envs, self.time / 10), self.last], 1)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.time += 1
        self.last = np.asarray(actions, np.float64).reshape(self.num_envs)
        broken = self.last > 1.5
        ended = np.full(self.num_envs, self.time >= self.horizon)
        return self.seen(), -((self.last - self.tasks[:, 0]) ** 2), broken, ended & ~broken, {"diverged": broken}


@dataclass(frozen=True, kw_only=True)
class Fragile(Environment):
    """Breaks on actions above 1.5."""

    tasks = Numbers()
    actions = Box(-1, 1, (1,), np.float64)

    def build(
        self, num_envs: int, *, horizon: int, render_mode: str | None = None, task_in_observation: bool = False
    ) -> Place:
        return Place(num_envs, horizon, self.actions)

    def spaces(self, *, task_in_observation: bool = False) -> tuple[Space, Space]:
        return SEEN, self.actions


@dataclass(frozen=True, kw_only=True)
class Switches(Fragile):
    """Its actions are off and on."""

    actions = Discrete(2)
