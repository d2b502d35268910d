"""An inner rule of your own: gradient steps that shrink, and are never longer than a limit.

From the command line, and from Python:

    python experiments/train.py navigation --rule examples/own_rule.py:Cautious --longest-step 3
    python examples/own_rule.py

A rule is a frozen dataclass of options with a method `build`. `check_rule` tells whether it keeps the contract.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch

import metarl
from metarl.engine.conformance import check_rule
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule, SteppingRule, overwrite, step_size
from metarl.envs import Navigation2D, TaskVectorEnv
from metarl.parts import POSITIVE, SHARE
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.inner_losses.log_prob import LogProb
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.problem import MetaRL, RolloutSettings


@dataclass(frozen=True, kw_only=True)
class Cautious(SteppingRule):
    """Gradient steps whose size shrinks by a factor, and whose length has a limit."""

    longest_step: Annotated[float, POSITIVE] = 1.0
    """Largest Euclidean length of an inner step, over all parameters."""
    shrink: Annotated[float, SHARE] = 1.0
    """Factor from the size of each inner step to that of the next one."""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule; see `Rule.build`."""
        sizes = self.sizes(step_sizes)

        def init(params: Params, generator: torch.Generator) -> Params:
            # Nothing is meta-learned but the model's own parameters.
            return params

        def start(meta: Params) -> Params:
            return dict(meta)

        def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
            alpha = step_size(sizes, step) * self.shrink**step
            squares = torch.stack([leaf.square().sum() for leaf in gradient.values()]).sum()
            # A root has no derivative at 0.
            length = alpha * (squares + 1e-12).sqrt()
            scale = alpha * (self.longest_step / length).clamp(max=1.0)
            return {name: leaf - scale * gradient[name] for name, leaf in fast.items()}

        return InnerRule(init, start, update, overwrite)


def main(run_dir: str, rule: Cautious, iterations: int = 3) -> float:
    """Train a point to find its goal, and return its average return after one inner step on held-out tasks."""
    check_rule(rule)
    env = TaskVectorEnv(Navigation2D())
    problem = MetaRL(
        lambda count: TaskVectorEnv(Navigation2D(), count),
        GaussianMLP(hidden_sizes=(32,)).build(env.single_observation_space, env.single_action_space),
        rule.build(),
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
    state = metarl.train(problem, TRPO().build(), run_dir=run_dir, iterations=iterations, seed=1)
    scores = metarl.evaluate(problem, state.theta, rule=rule.build(), steps=1, tasks=10).scores
    return float(scores["average_return"][1].mean())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(f"return after one inner step: {main(folder, Cautious(inner_step_size=0.5, longest_step=3)):.2f}")
