"""An environment whose code changes between training and use: its spaces are what `Changing` says at the moment."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box

BEFORE: tuple[Space, Space] = Box(-1.0, 1.0, (2,), np.float64), Box(-2.0, 2.0, (1,), np.float64)


class Changing(gymnasium.Env[Any, Any]):
    """Shows noise, and pays for actions near the task."""

    now: ClassVar[tuple[Space, Space]] = BEFORE
    render_mode = "rgb_array"
    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode: str | None = None) -> None:
        self.observation_space, self.action_space = self.now

    @staticmethod
    def sample_tasks(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.uniform(-1.0, 1.0, (n, 1))

    def _seen(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._task = float((options or {})["task"][0])
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self._seen(), -abs(float(np.sum(action)) - self._task), False, False, {}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)
