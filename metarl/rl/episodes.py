"""What a rollout leaves (`Episodes`), what a loss takes (`PolicyBatch`), and statistics over valid timesteps.

Axes: M tasks, T time, E episodes per task, O observation, A action.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Episodes(NamedTuple):
    """Raw rollouts: E complete episodes of each of M tasks. After an episode's end rewards and mask are 0."""

    observations: Tensor  # [M, T, E, O] before the action
    actions: Tensor  # [M, T, E, A] as sampled; environments clip them, log pi does not
    log_probs: Tensor  # [M, T, E] of the actions under the policy that took them
    rewards: Tensor  # [M, T, E] environment units
    mask: Tensor  # [M, T, E] 1.0 where the timestep belongs to the episode
    achieved: Tensor  # [M, E] what the task commands, as reached at the end (distance, velocity); nan if not reported
    diverged: Tensor  # [M, E] 1.0 where the simulation broke down and the episode ended there, or because of the next:
    nonfinite_observation: Tensor  # [M, E] 1.0 where an observation was not finite
    nonfinite_reward: Tensor  # [M, E] 1.0 where a reward was not
    nonfinite_action: Tensor  # [M, E] 1.0 where an action was not: the task's parameters have diverged

    @property
    def returns(self) -> Tensor:
        """Undiscounted return of each episode [M, E]."""
        return self.rewards.sum(1)

    @property
    def num_steps(self) -> Tensor:
        """Valid timesteps of each episode [M, E]; 0 marks an episode that does not count."""
        return self.mask.sum(1)

    def average(self, values: Tensor) -> Tensor:
        """Mean over the episodes that count: [M, E] -> [M]."""
        counts = self.num_steps > 0
        return torch.where(counts, values, 0.0).sum(1) / counts.sum(1)


class PolicyBatch(NamedTuple):
    """What the policy losses need. Shapes as of Episodes; the losses see one task, without the M."""

    observations: Tensor  # [M, T, E, O]
    actions: Tensor  # [M, T, E, A]
    log_probs: Tensor  # [M, T, E] under the behaviour policy
    advantages: Tensor  # [M, T, E] normalised per task over valid timesteps
    mask: Tensor  # [M, T, E]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid timesteps of one task: [T, E] -> scalar. Equal weight per timestep, not per episode."""
    return (values * mask).sum() / mask.sum()


def timestep_subset(batch: PolicyBatch, fraction: float) -> PolicyBatch:
    """Evenly spread timesteps of one task's batch: fields [T, E, ...] -> [n, 1, ...], n about fraction T E.

    Every 1 / fraction-th timestep of an episode, from another one on in each: short episodes, too, are seen whole.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction of timesteps must be in (0, 1]; got {fraction}")
    horizon, episodes = batch.mask.shape
    diagonal = torch.arange(horizon)[:, None] + torch.arange(episodes)  # [T, E]
    t, e = torch.nonzero((diagonal * fraction).floor() > ((diagonal - 1) * fraction).floor(), as_tuple=True)
    return PolicyBatch(*(field[t, e][:, None] for field in batch))
