"""From rewards to advantages: discounted returns, the linear feature baseline, GAE. Episodes -> PolicyBatch.

The end of the horizon bootstraps 0, like a termination: the horizon is part of the task (as in the authors' release),
and the baseline sees the time.
"""

import torch
from torch import Tensor

from metarl.rl.episodes import Episodes, PolicyBatch
from metarl.threads import torch_threads

RIDGE = 1e-5  # the authors' release


def discounted_sums(values: Tensor, discount: float) -> Tensor:
    """sum_l discount^l values[t + l] along the time axis: [M, T, E] -> [M, T, E]."""
    sums = torch.empty_like(values)
    total = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        total = values[:, t] + discount * total
        sums[:, t] = total
    return sums


def baseline_features(observations: Tensor) -> Tensor:
    """Features of the linear baseline (Duan et al. 2016): [M, T, E, O] -> [M, T, E, 2 O + 4].

    clip(obs, +-10), its square, t/100, (t/100)^2, (t/100)^3, 1; t counts timesteps from 0.
    """
    clipped = observations.clamp(-10, 10)
    t = torch.arange(observations.shape[1], device=observations.device, dtype=observations.dtype) / 100
    powers = torch.stack([t, t**2, t**3, torch.ones_like(t)], -1)[None, :, None, :]
    return torch.cat([clipped, clipped**2, powers.expand(*observations.shape[:3], 4)], -1)


def fit_baseline(observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Values [M, T, E] of a ridge regression of the returns on the features, one per task, solved in float64.

    Args:
        observations: [M, T, E, O].
        returns: discounted returns [M, T, E], the regression's targets.
        mask: [M, T, E]; masked timesteps have no influence and get the value 0.
    """
    tasks = zip(observations.split(1), returns.split(1), mask.split(1), strict=True)  # all at once: GiB of features
    return torch.cat([_fit_one(*task) for task in tasks])


def _fit_one(observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    features = (baseline_features(observations.double()) * mask[..., None]).flatten(1, 2)  # [1, TE, F]
    targets = (returns.double() * mask).flatten(1, 2)[..., None]  # [1, TE, 1]
    gram = features.mT @ features + RIDGE * torch.eye(features.shape[-1], dtype=torch.float64, device=mask.device)
    with torch_threads(1):  # on two, batches of 151 and more features hang: pytorch/pytorch#142815
        weights = torch.linalg.solve(gram, features.mT @ targets)
    return (features @ weights).reshape(returns.shape)


def generalized_advantages(rewards: Tensor, values: Tensor, *, discount: float, gae_lambda: float) -> Tensor:
    """GAE (Schulman et al. 2016, eq. 16): A_t = sum_l (discount lambda)^l delta_{t+l}, [M, T, E].

    Rewards and values must be 0 after an episode's end, so that the end bootstraps 0.
    """
    next_values = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    return discounted_sums(rewards + discount * next_values - values, discount * gae_lambda)


def normalize(advantages: Tensor, mask: Tensor) -> Tensor:
    """(A - mean) / (std + 1e-8), per task over its valid timesteps; 0 elsewhere: [M, T, E] -> [M, T, E]."""
    count = mask.sum((1, 2), keepdim=True)
    centred = (advantages - (advantages * mask).sum((1, 2), keepdim=True) / count) * mask
    std = ((centred**2).sum((1, 2), keepdim=True) / count).sqrt()
    return centred / (std + 1e-8)


def policy_batch(episodes: Episodes, *, discount: float, gae_lambda: float) -> PolicyBatch:
    """Baseline, GAE and normalisation of every task's rollouts, in float64, then back to the observations' dtype."""
    rewards, mask = episodes.rewards.double(), episodes.mask.double()
    returns = discounted_sums(rewards, discount)
    values = fit_baseline(episodes.observations, returns, mask)
    advantages = generalized_advantages(rewards, values, discount=discount, gae_lambda=gae_lambda)
    return PolicyBatch(
        observations=episodes.observations,
        actions=episodes.actions,
        log_probs=episodes.log_probs,
        advantages=normalize(advantages, mask).to(episodes.observations.dtype),
        mask=episodes.mask,
    )
