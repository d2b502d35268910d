"""MAML's outer loss."""

from dataclasses import dataclass

from metarl.supervised.outer_losses import OUTER_LOSSES, OuterLoss


@OUTER_LOSSES.register("last_step")
@dataclass(frozen=True, kw_only=True)
class LastStep(OuterLoss):
    """The loss on the query after the last inner step (Finn et al. 2017, algorithm 2, line 10)."""

    def build(self, inner_steps: int) -> None:
        """Return None in place of a weight for each step: the last step alone counts."""
        return
