"""Checks of a user's environment before anything is played: its task methods, and the wrappers around it."""

import copy
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers.utils import RunningMeanStd

from metarl.rl.contract import checked_sample, unread


def task_size(env: gymnasium.Env) -> int:
    """k, the numbers of the tasks that an environment samples.

    Raises:
        ValueError: the environment cannot be meta-trained, because neither it nor a wrapper has a task method, the
            method does not draw from the given generator, or a wrapper keeps statistics from one episode to the next.
    """
    for wrapper in wrappers(env):
        if any(isinstance(value, RunningMeanStd) for value in vars(wrapper).values()):
            raise ValueError(
                f"{env} cannot be meta-trained: {type(wrapper).__name__} keeps running statistics, which no checkpoint "
                "has and which other environments do not share. Leave it out; --normalization running normalises "
                "observations and keeps their statistics with the policy"
            )
    sample = env.get_wrapper_attr("sample_tasks") if env.has_wrapper_attr("sample_tasks") else None
    return checked_sample(sample, env, 2).shape[1]


def remarks_on(env: gymnasium.Env, horizon: int | None) -> list[str]:
    """Remarks on an environment's own time limit, and on the names in its `info` after a timestep.

    Args:
        env: the environment, which is reset and stepped once.
        horizon: timesteps of an episode in training; None: not known.
    """
    task = env.get_wrapper_attr("sample_tasks")(np.random.default_rng(0), 1)[0]
    env.reset(seed=0, options={"task": np.asarray(task, np.float64)})
    action_space = copy.deepcopy(env.action_space)
    action_space.seed(0)
    remarks = unread(env.step(action_space.sample())[4])
    limit = env.spec.max_episode_steps if env.spec is not None else None
    if limit is None or horizon is None or horizon >= limit:
        return remarks
    cut = f"episodes are cut at the horizon of {horizon} timesteps, before the environment's own limit of {limit}"
    return [*remarks, f"{cut}: --horizon {limit} plays whole ones"]


def wrappers(env: gymnasium.Env) -> Iterator[gymnasium.Wrapper[Any, Any, Any, Any]]:
    """The wrappers around an environment, from the outermost on."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
