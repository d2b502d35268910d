"""The result of a rollout (`Episodes`), the data of a loss (`PolicyBatch`), and statistics over valid timesteps.

Axes: M tasks, T time, E episodes per task, O observation, A action.
"""

from typing import NamedTuple

import torch
from torch import Tensor

BREAKS = ("simulation", "observation", "reward", "action")
"""Why an episode breaks: its simulation broke down, or an observation, a reward or an action was not finite. An action
that is not finite shows that the policy's parameters have diverged."""


class Episodes(NamedTuple):
    """Raw rollouts: E complete episodes of each of M tasks. After an episode's end rewards and mask are 0."""

    observations: Tensor  # [M, T, E, O] before the action
    actions: Tensor  # [M, T, E, A] as sampled; environments clip them, log pi does not
    log_probs: Tensor  # [M, T, E] of the actions under the policy that took them
    rewards: Tensor  # [M, T, E] environment units
    mask: Tensor  # [M, T, E] 1.0 where the timestep belongs to the episode
    achieved: Tensor  # [M, E] the last value reported of what the task commands (distance, velocity); nan: none
    success: Tensor  # [M, E] the greatest success reported during the episode, 1.0 or 0.0; nan: none
    reward_terms: dict[str, Tensor]  # name -> [M, E] sum over the episode, environment units
    breaks: dict[str, Tensor]  # each of BREAKS -> [M, E] 1.0 where the episode broke for this reason

    @property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode [M, E]."""
        return self.rewards.sum(1)

    @property
    def num_steps(self) -> Tensor:
        """Valid timesteps of each episode [M, E]."""
        return self.mask.sum(1)

    @property
    def broken(self) -> Tensor:
        """1.0 where the episode broke, for any reason, [M, E]."""
        return torch.stack(list(self.breaks.values())).amax(0)

    @property
    def counted(self) -> Tensor:
        """1.0 where the episode counts in scores and losses, [M, E]: it did not break, and has timesteps."""
        return torch.where(self.num_steps > 0, 1 - self.broken, 0.0)

    def average(self, values: Tensor) -> Tensor:
        """Mean over the episodes that count: [M, E] -> [M]; nan for a task none of whose episodes counts."""
        counts = self.counted > 0
        return torch.where(counts, values, 0.0).sum(1) / counts.sum(1)


class PolicyBatch(NamedTuple):
    """The data of the policy losses. Losses see one task, without the axis M."""

    observations: Tensor  # [M, T, E, O]
    actions: Tensor  # [M, T, E, A]
    log_probs: Tensor  # [M, T, E] under the behaviour policy
    advantages: Tensor  # [M, T, E] normalised per task over valid timesteps
    mask: Tensor  # [M, T, E]
    rewards: Tensor  # [M, T, E] environment units, 0 where the mask is


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid timesteps of one task: [T, E] -> scalar, 0 if there are none.

    Every timestep has the same weight, whatever episode it is in.
    """
    return (values * mask).sum() / mask.sum().clamp(min=1)


def timestep_subset(batch: PolicyBatch, fraction: float) -> PolicyBatch:
    """Evenly spread timesteps of one task's batch: fields [T, E, ...] -> [n, 1, ...], n about fraction T E.

    Every 1 / fraction-th timestep of an episode is taken, starting one timestep later in each episode, so that the
    whole length of even short episodes is seen.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction of timesteps must be in (0, 1]; got {fraction}")
    horizon, episodes = batch.mask.shape
    diagonal = torch.arange(horizon)[:, None] + torch.arange(episodes)  # [T, E]
    t, e = torch.nonzero((diagonal * fraction).floor() > ((diagonal - 1) * fraction).floor(), as_tuple=True)
    return PolicyBatch(*(field[t, e][:, None] for field in batch))
