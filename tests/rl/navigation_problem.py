"""A small problem of MAML-RL: navigation with few episodes of few timesteps."""

from typing import Any

from conftest import gaussian_mlp, sgd

from metarl import envs
from metarl.engine.rules import InnerRule
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.inner_losses import INNER_LOSSES
from metarl.rl.problem import MetaRL, RolloutSettings
from metarl.shard import ALONE, Shard

BASELINE = LinearFeatures().build()

SETTINGS = RolloutSettings(
    tasks=3, episodes=4, horizon=8, discount=0.99, gae_lambda=1.0, evaluation_episodes=5, evaluation_counting="episodes"
)


def problem(
    *,
    inner_steps: int = 1,
    inner_loss: Any = "log_prob",
    initial_std: float = 1.0,
    seed: int = 1,
    settings: RolloutSettings = SETTINGS,
    rule: InnerRule | None = None,
    task_per_episode: bool = False,
    shard: Shard = ALONE,
    environment: type[envs.TaskVectorEnv] = envs.TaskVectorEnv,
) -> MetaRL:
    return MetaRL(
        lambda n: environment(envs.Navigation2D(), n, horizon=8),
        gaussian_mlp(2, 2, hidden_sizes=(8,), initial_std=initial_std),
        rule or sgd(0.1),
        inner_steps=inner_steps,
        inner_loss=INNER_LOSSES.find(inner_loss)().build() if isinstance(inner_loss, str) else inner_loss,
        baseline=BASELINE,
        settings=settings,
        seed=seed,
        task_per_episode=task_per_episode,
        shard=shard,
    )
