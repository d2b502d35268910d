"""Discrete actions: Gymnasium's cart with a pole to balance, whose task is gravity.

A wrapper is enough: it draws the tasks, and passes each on to the environment that it wraps. Where actions are
discrete, as these two pushes are, the policy is `categorical_mlp` by default. From the command line, or from Python:

    PYTHONPATH=examples python experiments/train.py custom --environment cartpole:GravityCartPole-v0
    python examples/cartpole.py
"""

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

import metarl
from metarl.envs import LoopVectorEnv
from metarl.experiments.train import command


class Gravity(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Give CartPole the gravity of the task [m/s^2]."""

    task_names = ("gravity [m/s^2]",)

    def sample_tasks(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """Draw n gravities, [n, 1]: from the moon's to more than Jupiter's."""
        return rng.uniform(1.6, 30.0, (n, 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start with the pole nearly upright, under the gravity in `options["task"]`."""
        options = dict(options or {})
        if "task" in options:
            self.unwrapped.gravity = float(options.pop("task")[0])  # pyright: ignore[reportAttributeAccessIssue]
        return self.env.reset(seed=seed, options=options)


def make(**options: Any) -> gymnasium.Env:
    """CartPole with gravities as tasks; options are CartPole's."""
    return Gravity(gymnasium.make("CartPole-v1", **options))


# CartPole-v1 itself ends after 500 timesteps. Run as a program, this file is also loaded as a module, and registers
# once.
if "GravityCartPole-v0" not in gymnasium.registry:
    gymnasium.register("GravityCartPole-v0", entry_point=f"{Path(__file__).stem}:make")


def balanced(run_dir: str, gravity: float, timesteps: int = 500) -> int:
    """Timesteps for which the run's policy, adapted to a gravity, keeps the pole up."""
    agent = metarl.load_agent(run_dir)
    many = LoopVectorEnv(make, 20)
    env = make()
    adapted = agent.adapt(many, gravity)
    observation, _ = env.reset(seed=0, options={"task": [gravity]})
    for timestep in range(1, timesteps + 1):
        observation, _, fallen, over, _ = env.step(adapted.act(observation))
        if fallen or over:
            return timestep
    return timesteps


if __name__ == "__main__":
    run_dir = "runs/cartpole"
    flags = ["--environment", "cartpole:GravityCartPole-v0", "--horizon", "200", "--iterations", "30"]
    command(["custom", *flags, "--run-dir", run_dir, *sys.argv[1:]])
    for g in (1.6, 9.8, 30.0):
        print(f"gravity {g} m/s^2: {balanced(run_dir, g)} timesteps")
