"""Example of somebody else's single environment: Gymnasium's pendulum, given tasks of other gravities."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control import PendulumEnv
from numpy.typing import NDArray


class GravityPendulum(PendulumEnv):
    """Pendulum-v1 whose task is the gravity [m/s^2]. It needs `reset(options={"task": row})` and `sample_tasks`."""

    task_names = ("gravity [m/s^2]",)

    def sample_tasks(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """n gravities, [n, 1]."""
        return rng.uniform(5.0, 15.0, (n, 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start with the gravity of `options["task"]`."""
        options = dict(options or {})
        if "task" in options:
            self.g = float(options.pop("task")[0])
        return super().reset(seed=seed, options=options)


gymnasium.register("GravityPendulum-v0", entry_point=f"{__name__}:GravityPendulum", max_episode_steps=100)
