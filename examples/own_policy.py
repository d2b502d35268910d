"""A policy of your own: any `torch.nn.Module` becomes the mean of a Gaussian, or the logits of categories.

From the command line, and from Python:

    python experiments/train.py navigation --policy examples/own_policy.py:Net --width 32
    python examples/own_policy.py
"""

import torch
from torch import Tensor, nn

from metarl.engine.outer.trpo import TRPO
from metarl.engine.rules.sgd import SGD
from metarl.envs import Navigation2D, TaskVectorEnv
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.conformance import check_policy
from metarl.rl.inner_losses.log_prob import LogProb
from metarl.rl.policies.own_module import policy_of
from metarl.rl.problem import MetaRL, RolloutSettings


class Net(nn.Module):
    """Two layers with a residual connection; `width` becomes an option."""

    def __init__(self, observation_size: int, action_size: int, *, width: int = 64) -> None:
        super().__init__()
        self.first = nn.Linear(observation_size, width)
        self.second = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, action_size)

    def forward(self, observations: Tensor) -> Tensor:
        """Observations [..., O] -> means of the actions [..., A]."""
        hidden = torch.tanh(self.first(observations))
        return self.head(self.norm(hidden + torch.tanh(self.second(hidden))))


def train(iterations: int, tasks: int = 20, width: int = 64) -> list[float]:
    """Meta-train the policy on 2D navigation, and return the average return after adaptation of each iteration."""
    # `width`, an option of Net, is known only when the program runs.
    policy = policy_of(Net)(width=width, initial_std=0.5)  # pyright: ignore[reportCallIssue]
    env = TaskVectorEnv(Navigation2D())
    check_policy(policy, env.single_observation_space, env.single_action_space)
    problem = MetaRL(
        lambda count: TaskVectorEnv(Navigation2D(reward="distance"), count, horizon=50),
        policy.build(env.single_observation_space, env.single_action_space),
        SGD(inner_step_size=0.3).build(),
        inner_steps=1,
        inner_loss=LogProb().build(),
        baseline=LinearFeatures().build(),
        settings=RolloutSettings(
            tasks=tasks,
            episodes=20,
            horizon=50,
            discount=0.99,
            gae_lambda=1.0,
            evaluation_episodes=20,
            evaluation_counting="episodes",
        ),
        seed=1,
    )
    outer = TRPO(max_kl=0.02).build()
    theta = problem.initial_parameters(seed=1)
    returns = []
    state = outer.init(theta)
    for iteration in range(iterations):
        objective, metrics = problem.collect(theta, iteration)
        theta, state, _ = outer.step(theta, state, objective)
        returns.append(metrics["rollout/return_step1"])
        print(f"iteration {iteration}: return {metrics['rollout/return_step0']:.1f} -> {returns[-1]:.1f}")
    return returns


if __name__ == "__main__":
    train(iterations=30)
