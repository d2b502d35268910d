"""Whether a vector environment keeps actions within the bounds of its space, where samples of a policy may not lie."""

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv

from metarl.rl.contract import checked_sample, of_wrapped, play
from metarl.rl.spaces import in_words

BEYOND = 5  # timesteps of the episodes in which actions lie outside their bounds


def remarks_on_bounds(env: VectorEnv) -> list[str]:
    """Remarks on a vector environment that takes actions outside the bounds of its space as they are.

    Samples of a Gaussian policy lie outside now and then, and `Agent.act` clips them. Three short episodes are played.
    """
    space = env.single_action_space
    if not (isinstance(space, Box) and space.is_bounded()):
        return []
    sample = of_wrapped(env, "sample_tasks")
    tasks = np.repeat(checked_sample(sample, env, 1), env.num_envs, axis=0)
    # Whole numbers of few bits would begin again at their lower bound.
    low = space.low.astype(np.float64)
    high = space.high.astype(np.float64)
    inside, _ = play(env, tasks, BEYOND, lambda: high)
    again, _ = play(env, tasks, BEYOND, lambda: high)
    repeats = inside.same(again, 0, 0)
    if not repeats:
        # `check_vector` says so. What other actions do cannot be told from what chance does.
        return []
    try:
        beyond, _ = play(env, tasks, BEYOND, lambda: high + (high - low))
    except Exception as error:  # an environment may refuse an action by any error
        return [f"actions outside {in_words(space)} end in {type(error).__name__}: clip them to these bounds in step"]
    if inside.same(beyond, 0, 0):
        return []
    words = f"actions outside {in_words(space)}, which are sampled now and then, have effects of their own"
    return [f"{words}: clip them to these bounds in step, as agent.act does"]
