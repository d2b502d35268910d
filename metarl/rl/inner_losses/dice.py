"""DiCE: an inner loss whose derivatives are right to any order."""

from dataclasses import dataclass

from metarl.rl.inner_losses import INNER_LOSSES, InnerLoss, PolicyLoss
from metarl.rl.losses import dice


@INNER_LOSSES.register("dice")
@dataclass(frozen=True, kw_only=True)
class DiCE(InnerLoss):
    """Advantages under products of probability ratios up to their time (Foerster et al. 2018): the full Hessian."""

    def build(self) -> PolicyLoss:
        """Make the loss; see `losses.dice`."""
        return dice
