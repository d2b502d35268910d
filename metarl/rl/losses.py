"""Per-task losses of a policy: pure functions of its distribution on a batch [T, E, ...] of one task."""

import torch
from torch import Tensor

from metarl.rl.distributions import Distribution
from metarl.rl.episodes import PolicyBatch, masked_mean


def policy_gradient(policy: Distribution, batch: PolicyBatch) -> Tensor:
    """- mean of log pi(a|s) A: the paper's inner loss (Finn et al. 2017, eq. 4).

    Its gradient is right at the behaviour policy; its Hessian lacks the score's outer product.
    """
    return -masked_mean(policy.log_prob(batch.actions) * batch.advantages, batch.mask)


def likelihood_ratio(policy: Distribution, batch: PolicyBatch) -> Tensor:
    """- mean of pi(a|s) / pi_behaviour(a|s) A: TRPO's surrogate (Schulman et al. 2015, eq. 14).

    The outer loss, and an inner loss with the gradient of `policy_gradient` at the behaviour policy. There its Hessian
    lacks only the cross terms of an action and what follows it (Rothfuss et al. 2019, low-variance curvature).
    """
    return -masked_mean(_log_ratio(policy, batch).exp() * batch.advantages, batch.mask)


def clipped_likelihood_ratio(policy: Distribution, batch: PolicyBatch, *, epsilon: float) -> Tensor:
    """`likelihood_ratio` without a gain from ratios beyond 1 +- epsilon (Schulman et al. 2017, eq. 7).

    The smaller of ratio times advantage and clipped ratio times advantage counts, so that a ratio that has moved in the
    wrong direction is still corrected.
    """
    ratio = _log_ratio(policy, batch).exp()
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    return -masked_mean(torch.minimum(ratio * batch.advantages, clipped * batch.advantages), batch.mask)


def dice(policy: Distribution, batch: PolicyBatch) -> Tensor:
    """- mean of (W_t - W_t-1) A_t, W_t the product of the ratios up to t: DiCE with advantages (Farquhar et al. 2019).

    Time must be the first axis, in order. Let A_t be the sum of the rewards from t on minus a baseline of the state at
    t. Then the loss is the sum of W_t r_t (Foerster et al. 2018, eq. 5) in another order, minus a term of expectation
    0, so that its derivatives at the behaviour policy are right to any order. Its gradient there is that of
    `policy_gradient`.
    """
    log_ratio = _log_ratio(policy, batch)
    up_to_now = log_ratio.cumsum(0)
    before = up_to_now - log_ratio
    return -masked_mean((up_to_now.exp() - before.exp()) * batch.advantages, batch.mask)


def _log_ratio(policy: Distribution, batch: PolicyBatch) -> Tensor:
    """Return log pi(a|s) - log pi_behaviour(a|s), [T, E]; 0 at masked timesteps, where exp must not overflow."""
    return (policy.log_prob(batch.actions) - batch.log_probs) * batch.mask


def mean_kl(old: Distribution, new: Distribution, batch: PolicyBatch) -> Tensor:
    """Mean of KL(old || new) over valid timesteps, in nats: the divergence that TRPO bounds."""
    return masked_mean(old.kl(new), batch.mask)
