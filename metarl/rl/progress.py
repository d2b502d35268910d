"""The state of a rollout's episodes at each timestep: which run, which broke and why, and what they reported.

Axes: n environments, one episode each; T time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.rl.episodes import BREAKS
from metarl.rl.vector_results import TERM

Mask = NDArray[np.bool_]


class Progress:
    """The state of n episodes that were started together, or in turns (`begin`).

    An episode runs until its environment ends it (`end_where`) or it breaks (`break_where`); timesteps count only while
    it runs (`record`). One timestep makes these transitions, in this order:

        break_where("action", ...)          the policy's action is not finite
        break_where("simulation", ...)      the environment says that its simulation has broken down
        break_where("reward", ...)          the reward is not finite
        record(t, rewards, info)            the timestep of what still runs counts
        break_where("observation", ...)     the observation is not finite, even if the episode ends with it: an
                                            environment may end an episode because its state is not finite
        end_where(...)                      the environment says that the episode has ended

    Args:
        num_envs: n.
        horizon: T.
    """

    def __init__(self, num_envs: int, horizon: int) -> None:
        self.running: Mask = np.ones(num_envs, np.bool_)
        self.breaks: dict[str, Mask] = {reason: np.zeros(num_envs, np.bool_) for reason in BREAKS}
        self.mask: Mask = np.zeros((horizon, num_envs), np.bool_)
        self.rewards = np.zeros((horizon, num_envs))
        self.achieved = np.full(num_envs, np.nan)
        self.success = np.full(num_envs, np.nan)
        self.reward_terms: dict[str, NDArray[np.float64]] = {}

    def begin(self, which: slice) -> None:
        """Some episodes run from now on, and no others."""
        self.running = np.zeros_like(self.running)
        self.running[which] = True

    def break_where(self, reason: str, condition: Mask) -> None:
        """Break the running episodes that meet a condition [n], for one of `episodes.BREAKS`."""
        if condition.any():
            broken = self.running & condition
            self.breaks[reason] |= broken
            self.running = self.running & ~broken

    def end_where(self, ended: Mask) -> None:
        """End the running episodes that their environments say have ended, [n]."""
        self.running = self.running & ~ended

    def record(self, t: int, rewards: NDArray[np.floating], info: Mapping[str, Any]) -> None:
        """Count timestep t of the running episodes.

        Args:
            t: the timestep, from 0.
            rewards: [n], finite where an episode runs.
            info: of the environment's step, with values [n]. Kept are the last `achieved`, the greatest `success`, and
                the sum of every `reward/<term>`; a term that a timestep does not name is 0 there.
        """
        self.mask[t] |= self.running
        self.rewards[t] = np.where(self.running, rewards, self.rewards[t])
        if "achieved" in info:
            self.achieved = np.where(self.running, info["achieved"], self.achieved)
        if "success" in info:
            self.success = np.where(self.running, np.fmax(info["success"], self.success), self.success)
        for name, values in info.items():
            if name.startswith(TERM):
                total = self.reward_terms.setdefault(name.removeprefix(TERM), np.zeros(len(self.running)))
                total += self._of_running(values)

    def _of_running(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        return values if self.running.all() else np.where(self.running, values, 0.0)
