"""An environment of your own: two additions make a Gymnasium environment a distribution over tasks.

`sample_tasks(rng, n)` draws n tasks, each a row of numbers; `reset(options={"task": row})` starts an episode of a task.
Here a pendulum hangs on a rod whose length is the task, and is not observed. From the command line, or from Python:

    python experiments/train.py custom --environment examples/own_environment.py:RodPendulum-v0
    python examples/own_environment.py
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.experiments.train import command

Array = NDArray[np.float64]
GRAVITY = 9.81  # m/s^2
SECONDS = 0.05  # per timestep
FASTEST = 8.0  # rad/s


class RodPendulum(gymnasium.Env[Array, Array]):
    """Hold a pendulum of 1 kg out level, at 90 degrees from hanging.

    Observation: cos and sin of the angle, angular velocity [rad/s], which is at most 8. Action: torque at the pivot
    [N m]. Task: length of the rod [m]. Reward: minus the squared distance from level [rad^2]. Episodes never end by
    themselves.
    """

    observation_space = Box(-np.inf, np.inf, (3,), np.float64)
    action_space = Box(-20.0, 20.0, (1,), np.float64)
    task_names = ("length [m]",)
    length = 1.0

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """Draw n lengths, [n, 1]."""
        return rng.uniform(0.5, 1.5, (n, 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Let the pendulum hang, nearly still, on a rod whose length is `options["task"]`."""
        super().reset(seed=seed)
        if options is not None and "task" in options:
            self.length = float(options["task"][0])
        self.angle, self.velocity = self.np_random.normal(0.0, 0.05, 2)
        return self._observe(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Turn for a timestep. The angular acceleration is torque / (m l^2) - (g / l) sin(angle)."""
        acceleration = action[0] / self.length**2 - GRAVITY / self.length * np.sin(self.angle)
        self.velocity = np.clip(self.velocity + SECONDS * acceleration, -FASTEST, FASTEST)
        self.angle += SECONDS * self.velocity
        away = (self.angle + np.pi / 2) % (2 * np.pi) - np.pi  # from level, the shorter way round
        return self._observe(), -float(away**2), False, False, {}

    def _observe(self) -> Array:
        return np.array([np.cos(self.angle), np.sin(self.angle), self.velocity])


# Episodes end after 100 timesteps.
gymnasium.register("RodPendulum-v0", entry_point=f"{__name__}:RodPendulum", max_episode_steps=100)

if __name__ == "__main__":
    command(["custom", "--environment", "RodPendulum-v0", "--iterations", "20"])
