"""A callback of your own, which collects the gains of adaptation, and prints them when the training ends.

From the command line, and from Python:

    python experiments/train.py navigation --iterations 3 --callback examples/own_callback.py:Gain
    python examples/own_callback.py
"""

import tempfile

import numpy as np
from gymnasium.spaces import Box

import metarl
from metarl.engine.outer.trpo import TRPO
from metarl.engine.rules.sgd import SGD
from metarl.envs import TaskVectorEnv
from metarl.envs.navigation import Navigation2D
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.inner_losses.log_prob import LogProb
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.problem import MetaRL, RolloutSettings
from metarl.training.callbacks.callback import Callback, Moment


class Gain(Callback):
    """Collect the gain of one inner step in every iteration."""

    def __init__(self) -> None:
        self.gains: list[float] = []

    def iteration(self, moment: Moment) -> None:
        """Note the difference between the returns after and before the inner step."""
        # The last moment has no outer step and no rollouts.
        if moment.stepped:
            returns = [moment.metrics[f"rollout/return_step{k}"] for k in (0, 1)]
            self.gains.append(returns[1] - returns[0])

    def close(self, error: BaseException | None) -> None:
        """Print the gains, even if the training was stopped early."""
        print("gain of one inner step:", *(f"{gain:.3f}" for gain in self.gains))


def main(run_dir: str) -> list[float]:
    """Train for three iterations, and return the gains."""
    observations = Box(-np.inf, np.inf, (2,))
    actions = Box(-1.0, 1.0, (2,))
    problem = MetaRL(
        lambda count, render_mode=None: TaskVectorEnv(Navigation2D(), count, render_mode=render_mode),
        GaussianMLP(hidden_sizes=(32,)).build(observations, actions),
        SGD(inner_step_size=0.1).build(),
        inner_steps=1,
        inner_loss=LogProb().build(),
        baseline=LinearFeatures().build(),
        settings=RolloutSettings(
            tasks=4,
            episodes=5,
            horizon=20,
            discount=0.99,
            gae_lambda=1.0,
            evaluation_episodes=5,
            evaluation_counting="episodes",
        ),
        seed=1,
    )
    gain = Gain()
    metarl.train(problem, TRPO().build(), run_dir=run_dir, iterations=3, seed=1, callbacks=[gain])
    return gain.gains


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
