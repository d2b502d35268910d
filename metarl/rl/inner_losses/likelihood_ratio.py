"""Low-variance curvature: the surrogate of policy search as an inner loss."""

from dataclasses import dataclass

from metarl.rl.inner_losses import INNER_LOSSES, InnerLoss, PolicyLoss
from metarl.rl.losses import likelihood_ratio


@INNER_LOSSES.register("likelihood_ratio")
@dataclass(frozen=True, kw_only=True)
class LikelihoodRatio(InnerLoss):
    """Probability ratios times advantages (Rothfuss et al. 2019, section 5): the Hessian but for its cross terms."""

    def build(self) -> PolicyLoss:
        """Make the loss; see `losses.likelihood_ratio`."""
        return likelihood_ratio
