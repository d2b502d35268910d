"""From a configuration to the objects it names: environments or datasets, model, rule, problem, outer optimiser."""

import dataclasses
import functools
import os
import shutil
from typing import Any, cast

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from metarl import agent
from metarl.engine.model import Model
from metarl.engine.outer import OuterOptimizer
from metarl.engine.outer.adam import Adam
from metarl.engine.outer.trpo import TRPO
from metarl.envs.adapters.gymnasium_loop import GymnasiumEnvironment
from metarl.envs.family import TaskFamily, make_family
from metarl.experiments.published import published_tasks
from metarl.parts import P, Registry, options
from metarl.problem import Problem
from metarl.rl.environments import ENVIRONMENTS, Environment
from metarl.rl.problem import MetaRL
from metarl.rl.spaces import action_size, observation_size
from metarl.shard import ALONE, Shard
from metarl.supervised.datasets import DATASETS
from metarl.supervised.networks import NETWORKS
from metarl.supervised.problem import ExampleSettings, MetaSupervised
from metarl.supervised.tasks import SupervisedTasks
from metarl.training.config import Config, RLConfig, SupervisedConfig
from metarl.training.evaluation import held_out_tasks
from metarl.training.rules import training_rule

DIFFERENCES = ("symmetric", "forward")  # curvatures that take an epsilon
TRACED_TASKS = 3  # whose examples and outputs the figures draw


def make_env(config: RLConfig, num_envs: int, render_mode: str | None = None) -> VectorEnv:
    """The configured environment, `num_envs` times.

    Raises:
        ValueError: an unknown environment, an option it does not have, or one that cannot be meta-trained.
    """
    return environment_of(config).build(
        num_envs, horizon=config.horizon, render_mode=render_mode, task_in_observation=config.method == "oracle"
    )


def environment_of(config: RLConfig) -> Environment:
    """The configured environment as a part.

    Raises:
        ValueError: an unknown environment, or an option it does not have.
    """
    kind, chosen = ENVIRONMENTS.find(config.environment), config.environment_options
    if issubclass(kind, TaskFamily):
        return make_family(config.environment, **chosen)
    return cast(type[GymnasiumEnvironment], kind)(environment_options={**chosen})


def make_problem(config: Config, shard: Shard = ALONE) -> MetaRL | MetaSupervised:
    """What one meta-iteration of the configuration, or a rank's share of it, is made of.

    Raises:
        ValueError: whatever of the configuration its parts refuse.
    """
    if isinstance(config, SupervisedConfig):
        return meta_supervised(config, shard)
    return meta_rl(cast(RLConfig, config), shard)


def meta_rl(config: RLConfig, shard: Shard = ALONE) -> MetaRL:
    """One meta-iteration of MAML-RL on the configured environment.

    Raises:
        ValueError: whatever of the configuration its parts refuse.
    """
    _require_device(config)
    environment = environment_of(config)
    observations, actions = environment.spaces(task_in_observation=config.method == "oracle")
    return agent.meta_rl(
        config,
        functools.partial(make_env, config),
        observation_size(observations),
        action_size(actions),
        traced_episodes=environment.traced_episodes,
        commanded=environment.commanded,
        shard=shard,
    )


def meta_supervised(config: SupervisedConfig, shard: Shard = ALONE) -> MetaSupervised:
    """One meta-iteration of supervised MAML on the configured tasks.

    Raises:
        ValueError: images that are missing or cannot be read, more ways or shots than there are.
    """
    _require_device(config)
    tasks, model = make_tasks(config)
    return MetaSupervised(
        tasks.distribution,
        model,
        tasks.kind,
        training_rule(config),
        inner_steps=config.adaptation_steps,
        settings=ExampleSettings(
            tasks=config.tasks,
            shots=config.shots,
            queries=config.queries,
            evaluation_queries=config.evaluation_queries,
            log_every=config.log_every,
            traced_tasks=TRACED_TASKS,
        ),
        seed=config.seed,
        device=config.device,
        compiled=compiles(config),
        shard=shard,
    )


def make_tasks(config: SupervisedConfig) -> tuple[SupervisedTasks, Model]:
    """The configured tasks, and the network for their inputs."""
    tasks = _part(DATASETS, config.dataset, config).build()
    tasks.require_examples(config.shots, max(config.queries, config.evaluation_queries))
    if config.method == "oracle":
        tasks = tasks.with_task_in_inputs()
    network = _part(NETWORKS, config.network, config)
    return tasks, network.build(tasks.input_shape, tasks.outputs, tasks.kind)


def _part(registry: Registry[P], name: str, config: Config) -> P:
    """The part of that name, with those of its options that the configuration has."""
    kind = registry.find(name)
    values = {option.name: getattr(config, option.name, None) for option in options(kind)}
    return kind(**{name: value for name, value in values.items() if value is not None})


def compiles(config: SupervisedConfig) -> bool:
    """Whether the meta-gradient will be compiled: if wanted, on the CPU, and where there is a compiler."""
    return config.compile and config.device == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is not None


def make_outer(config: Config) -> OuterOptimizer:
    """The configured outer optimiser."""
    if isinstance(config, SupervisedConfig):
        return Adam(learning_rate=config.learning_rate, gradient_clip=config.gradient_clip).build()
    if not isinstance(config, RLConfig) or config.outer == "adam":
        return Adam(learning_rate=config.learning_rate).build()
    return TRPO(
        max_kl=config.max_kl,
        cg_iterations=config.cg_iterations,
        cg_damping=config.cg_damping,
        curvature=config.curvature,
        curvature_fraction=config.curvature_fraction,
        curvature_tasks=config.curvature_tasks,
        # one field for all curvatures: most have no use for it
        finite_difference_epsilon=config.finite_difference_epsilon if config.curvature in DIFFERENCES else None,
    ).build()


def evaluation_tasks(config: Config, problem: Problem) -> NDArray[np.float64]:
    """The tasks [N, k] that this run is evaluated on: the published ones, or its own held-out ones."""
    if isinstance(config, RLConfig) and config.published_tasks:
        tasks = published_tasks(config.experiment)
        if config.evaluation_tasks > len(tasks):
            raise ValueError(f"there are {len(tasks)} published test tasks; got --tasks {config.evaluation_tasks}")
        return tasks[: config.evaluation_tasks]
    return held_out_tasks(problem, config)


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """The configuration with other values. Raises ValueError for one that this kind of run does not have."""
    known = {field.name for field in dataclasses.fields(config)}
    if foreign := [name for name in values if name not in known]:
        flag = foreign[0].removeprefix("evaluation_").replace("_", "-")
        raise ValueError(f"--{flag} means nothing for {config.preset}, got {values[foreign[0]]}")
    return dataclasses.replace(config, **values)


def _require_device(config: Config) -> None:
    if config.device != "cpu" and not (config.device.startswith("cuda") and torch.cuda.is_available()):
        raise ValueError(f"device {config.device!r} is not available here: use cpu, or cuda on a machine with a GPU")
