"""Per-task losses of a policy: pure functions of its distribution on a batch [T, E, ...] of one task."""

from torch import Tensor

from metarl.rl.distributions import Distribution
from metarl.rl.episodes import PolicyBatch, masked_mean


def policy_gradient(policy: Distribution, batch: PolicyBatch) -> Tensor:
    """- mean of log pi(a|s) A: the paper's inner loss (Finn et al. 2017, eq. 4).

    Right gradient at the behaviour policy; its Hessian lacks the score's outer product.
    """
    return -masked_mean(policy.log_prob(batch.actions) * batch.advantages, batch.mask)


def likelihood_ratio(policy: Distribution, batch: PolicyBatch) -> Tensor:
    """- mean of pi(a|s) / pi_behaviour(a|s) A: TRPO's surrogate (Schulman et al. 2015, eq. 14).

    The outer loss, and an inner loss with the same gradient as `policy_gradient` and the right Hessian.
    """
    log_ratio = (policy.log_prob(batch.actions) - batch.log_probs) * batch.mask  # masked: exp must not overflow there
    ratio = log_ratio.exp()
    return -masked_mean(ratio * batch.advantages, batch.mask)


def mean_kl(old: Distribution, new: Distribution, batch: PolicyBatch) -> Tensor:
    """Mean over valid states of KL(old || new), in nats: the trust region at the adapted policies."""
    return masked_mean(old.kl(new), batch.mask)
