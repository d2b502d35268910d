"""From rewards to advantages: discounted returns, a baseline's values, GAE. Episodes -> PolicyBatch.

After the last timestep of the horizon the value is taken to be 0, as after a termination: the horizon is part of the
task (as in the authors' release), and the baseline sees the time.
"""

import torch
from torch import Tensor

from metarl.engine.soundness import unchanged
from metarl.rl.baselines import Values
from metarl.rl.episodes import Episodes, PolicyBatch


def discounted_sums(values: Tensor, discount: float) -> Tensor:
    """sum_l discount^l values[t + l] along the time axis: [M, T, E] -> [M, T, E]."""
    sums = torch.empty_like(values)
    total = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        total = values[:, t] + discount * total
        sums[:, t] = total
    return sums


def generalized_advantages(rewards: Tensor, values: Tensor, *, discount: float, gae_lambda: float) -> Tensor:
    """GAE (Schulman et al. 2016, eq. 16): A_t = sum_l (discount lambda)^l delta_{t+l}, [M, T, E].

    Rewards and values must be 0 after an episode's end.
    """
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    return discounted_sums(rewards + discount * next_values - values, discount * gae_lambda)


def normalize(advantages: Tensor, mask: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8), per task over its valid timesteps; 0 elsewhere: [M, T, E] -> [M, T, E]."""
    # At least 1, so that a task without valid timesteps has advantages of 0.
    count = mask.sum((1, 2), keepdim=True).clamp(min=1)
    centred = (advantages - (advantages * mask).sum((1, 2), keepdim=True) / count) * mask
    std = ((centred**2).sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (std + 1e-8)


def policy_batch(episodes: Episodes, baseline: Values, *, discount: float, gae_lambda: float) -> PolicyBatch:
    """Baseline, GAE and normalisation of every task's rollouts, in float64, then back to the observations' dtype.

    Broken episodes are masked out whole. An episode that the simulation cut short looks as if it had ended well: where
    rewards are negative, losses, baseline and normalisation would take its early end for a success.

    Raises:
        ValueError: the baseline's values have another shape than the returns, or it changes what it is given.
    """
    counted = episodes.mask * episodes.counted[:, None]
    rewards = episodes.rewards.double() * counted
    mask = counted.double()
    returns = discounted_sums(rewards, discount)
    given = {"observations": episodes.observations, "returns": returns, "mask": mask}
    with unchanged("a baseline must not change what it is given in place", given):
        values = baseline(*given.values())
    if not isinstance(values, torch.Tensor) or values.shape != returns.shape:
        got = list(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
        raise ValueError(f"a baseline must give values [M, T, E], here {list(returns.shape)}; got {got}")
    # A value after an episode's end would count as a part of its return. Gradients of a baseline are its own.
    values = values.detach().where(mask > 0, 0.0)
    advantages = generalized_advantages(rewards, values, discount=discount, gae_lambda=gae_lambda)
    return PolicyBatch(
        observations=episodes.observations,
        actions=episodes.actions,
        log_probs=episodes.log_probs,
        advantages=normalize(advantages, mask).to(episodes.observations.dtype),
        mask=counted,
        rewards=rewards.to(episodes.observations.dtype),
    )
