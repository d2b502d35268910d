"""MAML's outer loss."""

from dataclasses import dataclass

from torch import Tensor

from metarl.engine.maml import AdaptedTask
from metarl.rl.inner_losses import PolicyLoss
from metarl.rl.outer_losses import OUTER_LOSSES, Act, OuterLoss, OuterPolicyLoss


@OUTER_LOSSES.register("surrogate")
@dataclass(frozen=True, kw_only=True)
class Surrogate(OuterLoss):
    """The adapted policy's surrogate on its own episodes (Finn et al. 2017, algorithm 3, line 10)."""

    def build(self) -> OuterPolicyLoss:
        """Make the loss."""

        def loss(task: AdaptedTask, surrogate: PolicyLoss, act: Act) -> Tensor:
            return surrogate(task.outputs, task.query)

        return loss
