"""Worker processes: an environment whose timestep takes a millisecond of Python, played in several processes.

Nothing in the environment knows of processes. `--workers N` gives each of N processes its share of the copies, with the
same numbers for every N. From the command line, or from Python:

    python experiments/train.py custom --environment examples/worker_processes.py:HeatedRod-v0 --workers 2
    python examples/worker_processes.py
"""

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.experiments.train import command

Array = NDArray[np.float64]
CELLS = 20
SWEEPS = 200  # over all cells in a timestep: the millisecond
CONDUCTION = 0.4  # share of the difference to its neighbours that a cell takes over in a sweep
LOSS = 0.001  # share of its heat that a cell loses in a sweep


class HeatedRod(gymnasium.Env[Array, Array]):
    """Bring the far end of a rod to a temperature by a heater at its near end.

    Observation: the temperature of every fifth cell. Action: the power of the heater. Task: the temperature at which
    the far end shall be, which is not observed. Reward: minus the distance from it. All units are arbitrary.
    """

    observation_space = Box(-np.inf, np.inf, (CELLS // 5,), np.float64)
    action_space = Box(-1.0, 1.0, (1,), np.float64)
    task_names = ("temperature",)
    wanted = 0.0

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """Draw n temperatures, [n, 1]."""
        return rng.uniform(-1.0, 1.0, (n, 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start with a rod of nearly no heat; `options["task"]` is the temperature that is wanted."""
        super().reset(seed=seed)
        if options is not None and "task" in options:
            self.wanted = float(options["task"][0])
        self.rod = self.np_random.normal(0.0, 0.05, CELLS).tolist()
        return self._observe(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Conduct heat for a timestep, in plain Python as simulators often are."""
        power = float(np.clip(action[0], -1.0, 1.0)) / 10
        rod = self.rod
        for _ in range(SWEEPS):
            for i in range(CELLS):
                left = rod[i - 1] if i else rod[0] + power
                right = rod[i + 1] if i + 1 < CELLS else rod[i]
                rod[i] += CONDUCTION * ((left + right) / 2 - rod[i]) - LOSS * rod[i]
        return self._observe(), -abs(rod[-1] - self.wanted), False, False, {}

    def _observe(self) -> Array:
        return np.array(self.rod[::5])


# Episodes end after 50 timesteps. The name of the file, not of the program that runs, is what worker processes import.
if "HeatedRod-v0" not in gymnasium.registry:
    gymnasium.register("HeatedRod-v0", entry_point=f"{Path(__file__).stem}:HeatedRod", max_episode_steps=50)

# Each worker process loads this file: what is not below this line would run in all of them.
if __name__ == "__main__":
    flags = ["--environment", "worker_processes:HeatedRod-v0", "--workers", "2", "--horizon", "50", "--tasks", "10"]
    command(["custom", *flags, "--iterations", "20", "--run-dir", "runs/heated-rod", *sys.argv[1:]])
