"""Whether a vector environment keeps actions within the bounds of its space, where samples of a policy may not lie."""

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv

from metarl.rl.contract import checked_sample, of_wrapped, play
from metarl.rl.spaces import in_words

BEYOND = 5  # timesteps of the episodes in which actions lie outside their bounds


def remarks_on_bounds(env: VectorEnv) -> list[str]:
    """Remarks on a vector environment that takes actions outside the bounds of its space as they are.

    Samples of a Gaussian policy lie outside now and then, and `Agent.act` clips them. Two short episodes are played.
    """
    space = env.single_action_space
    if not (isinstance(space, Box) and space.is_bounded()):
        return []
    sample = of_wrapped(env, "sample_tasks")
    tasks = np.repeat(checked_sample(sample, env, 1), env.num_envs, axis=0)
    inside, _ = play(env, tasks, BEYOND, lambda: space.high)
    try:
        beyond, _ = play(env, tasks, BEYOND, lambda: space.high + (space.high - space.low))
    except Exception as error:  # an environment may refuse an action by any error
        return [f"actions outside {in_words(space)} end in {type(error).__name__}: clip them to these bounds in step"]
    if inside.same(beyond, 0, 0):
        return []
    words = f"actions outside {in_words(space)}, which are sampled now and then, have effects of their own"
    return [f"{words}: clip them to these bounds in step, as agent.act does"]
