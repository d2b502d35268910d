"""`metarl.check_environment`: whether your own environment can be meta-trained in, and what is wrong with it."""

from typing import Any

import gymnasium
from gymnasium.vector import VectorEnv

from metarl.arguments import require_integers
from metarl.envs.adapters.gymnasium_loop import LoopVectorEnv
from metarl.envs.adapters.wrappers import remarks_on
from metarl.envs.batched import TaskVectorEnv
from metarl.rl.bounds import remarks_on_bounds
from metarl.rl.contract import TIMESTEPS, check_vector
from metarl.rl.environments import ENVIRONMENTS, Environment
from metarl.starting_folder import moves


def check_environment(env: gymnasium.Env | VectorEnv | Environment | str, horizon: int | None = None) -> list[str]:
    """Check an environment as training does at its start, and return remarks on it, one line each.

    Args:
        env: a single environment, a vector environment (two or more show more than one), an id or MODULE:NAME as
            `--environment` takes it, or a part of that kind. What is given as an environment is reset and stepped, and
            not closed.
        horizon: timesteps of an episode, to be compared with the environment's own limit.

    Raises:
        ValueError: the environment cannot be meta-trained in; the message says how to mend it. An error inside the
            environment is passed on as it is.
    """
    if horizon is not None:
        require_integers(1, horizon=horizon)
    if isinstance(env, str):
        return ENVIRONMENTS.find(env)().remarks(horizon or TIMESTEPS)
    with moves() as moved:
        remarks = _remarks(env, horizon)
    return remarks + moved


def _remarks(env: Any, horizon: int | None) -> list[str]:
    if isinstance(env, Environment):
        return env.remarks(horizon or TIMESTEPS)
    if isinstance(env, VectorEnv):
        remarks = check_vector(env, horizon or TIMESTEPS)
        clips = isinstance(env.unwrapped, TaskVectorEnv | LoopVectorEnv)
        return remarks if clips else remarks + remarks_on_bounds(env)
    if isinstance(env, gymnasium.Env):
        remarks = check_vector(LoopVectorEnv(lambda: env, 1), horizon or TIMESTEPS)
        return remarks_on(env, horizon) + remarks
    advice = ": make one, and check that" if callable(env) else ""
    raise ValueError(f"env must be a gymnasium.Env, a VectorEnv or an id; got {env!r}{advice}")
