"""The paper's inner loss."""

from dataclasses import dataclass

from metarl.rl.inner_losses import INNER_LOSSES, InnerLoss, PolicyLoss
from metarl.rl.losses import policy_gradient


@INNER_LOSSES.register("log_prob")
@dataclass(frozen=True, kw_only=True)
class LogProb(InnerLoss):
    """Log-probabilities times advantages (Finn et al. 2017, equation 4): the right gradient, not the right Hessian."""

    def build(self) -> PolicyLoss:
        """Make the loss; see `losses.policy_gradient`."""
        return policy_gradient
