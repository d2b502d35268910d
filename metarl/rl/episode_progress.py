"""The state of a rollout's episodes at each timestep: which run, which broke and why, and what they reported.

Axes: n environments, one episode each; T time.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from metarl.arrays import Array, Mask, known_all, namespace, perhaps_any
from metarl.rl.episodes import BREAKS
from metarl.rl.vector_results import TERM


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
        device: where the environments' tensors are, and this state; None for environments of NumPy's arrays.
    """

    def __init__(self, num_envs: int, horizon: int, device: torch.device | None = None) -> None:
        arrays: Any = np if device is None else torch
        place: dict[str, Any] = {} if device is None else {"device": device}

        def empty(*shape: int) -> Mask:
            return arrays.zeros(shape, dtype=arrays.bool, **place)

        def missing() -> Array:
            return arrays.full((num_envs,), np.nan, dtype=arrays.float64, **place)

        self.running: Mask = ~empty(num_envs)
        self.breaks: dict[str, Mask] = {reason: empty(num_envs) for reason in BREAKS}
        self.mask: Mask = empty(horizon, num_envs)
        self.rewards: Array = arrays.zeros((horizon, num_envs), dtype=arrays.float64, **place)
        self.achieved = missing()
        self.success = missing()
        self.reward_terms: dict[str, Array] = {}

    def begin(self, which: slice) -> None:
        """Let some episodes run from now on, and no others."""
        self.running = namespace(self.running).zeros_like(self.running)
        self.running[which] = True

    def break_where(self, reason: str, condition: Mask) -> None:
        """Break the running episodes that meet a condition [n], for one of `episodes.BREAKS`."""
        if perhaps_any(condition):
            broken = self.running & condition
            self.breaks[reason] |= broken
            self.running = self.running & ~broken

    def end_where(self, ended: Mask) -> None:
        """End the running episodes that their environments say have ended, [n]."""
        self.running = self.running & ~ended

    def record(self, t: int, rewards: Array, info: Mapping[str, Any]) -> None:
        """Count timestep t of the running episodes.

        Args:
            t: the timestep, from 0.
            rewards: [n], finite where an episode runs.
            info: of the environment's step, with values [n]. Kept are the last `achieved`, the greatest `success`, and
                the sum of every `reward/<term>`; a term that a timestep does not name is 0 there.
        """
        arrays = namespace(self.running)
        self.mask[t] |= self.running
        self.rewards[t] = arrays.where(self.running, rewards, self.rewards[t])
        if "achieved" in info:
            self.achieved = arrays.where(self.running, info["achieved"], self.achieved)
        if "success" in info:
            greatest = arrays.fmax(info["success"], self.success)
            self.success = arrays.where(self.running, greatest, self.success)
        for name, values in info.items():
            if name.startswith(TERM):
                zero = arrays.zeros_like(self.rewards[t])
                total = self.reward_terms.setdefault(name.removeprefix(TERM), zero)
                total += self._of_running(values)

    def _of_running(self, values: Array) -> Array:
        return values if known_all(self.running) else namespace(self.running).where(self.running, values, 0.0)
