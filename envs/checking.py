"""`metarl.check_environment`: whether your own environment can be meta-trained in, and what is wrong with it."""

import gymnasium
from gymnasium.vector import VectorEnv

from metarl.arguments import require_integers
from metarl.envs.adapters.gymnasium_loop import LoopVectorEnv
from metarl.envs.adapters.wrappers import remarks_on
from metarl.rl.contract import TIMESTEPS, check_vector
from metarl.rl.environments import ENVIRONMENTS


def check_environment(env: gymnasium.Env | VectorEnv | str, horizon: int | None = None) -> list[str]:
    """Check an environment as training does at its start, and return remarks on it, one line each.

    Args:
        env: a single environment, a vector environment (two or more show more than one), or an id or MODULE:NAME as
            `--environment` takes it. It is reset and stepped, and not closed.
        horizon: timesteps of an episode, to be compared with the environment's own limit.

    Raises:
        ValueError: the environment cannot be meta-trained in; the message says how to mend it. An error inside the
            environment is passed on as it is.
    """
    if horizon is not None:
        require_integers(1, horizon=horizon)
    if isinstance(env, str):
        return ENVIRONMENTS.find(env)().remarks(horizon or TIMESTEPS)
    if isinstance(env, VectorEnv):
        return check_vector(env, horizon or TIMESTEPS)
    if isinstance(env, gymnasium.Env):
        remarks = check_vector(LoopVectorEnv(lambda: env, 1), horizon or TIMESTEPS)
        return remarks_on(env, horizon) + remarks
    raise ValueError(f"env must be a gymnasium.Env, a VectorEnv or an id; got {env!r}")
