"""What a configuration builds: the problem, the outer optimiser, environments."""

from typing import Any, cast

from gymnasium.vector import VectorEnv

from metarl.engine.outer import OuterOptimizer
from metarl.rl.problem import MetaRL
from metarl.shard import ALONE, Shard
from metarl.training.config import Config
from metarl.training.tree import with_options


def make_problem(config: Config, shard: Shard = ALONE) -> Any:
    return config.problem.build(config.setting(shard))


def meta_rl(config: Config) -> MetaRL:
    return cast(MetaRL, make_problem(config))


def make_outer(config: Config) -> OuterOptimizer:
    return config.outer.build()


def make_env(config: Config, count: int) -> VectorEnv:
    problem = cast(Any, config.problem)
    return problem.environment.build(count, horizon=problem.horizon, task_in_observation=config.method == "oracle")


def changed(config: Config, **values: Any) -> Config:
    return with_options(config, values)
