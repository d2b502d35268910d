"""MAML++'s multi-step loss: the losses on the query after every inner step (Antoniou et al. 2019, section 4)."""

from dataclasses import dataclass
from typing import Annotated

from metarl.parts import at_least
from metarl.supervised.outer_losses import OUTER_LOSSES, OuterLoss, StepWeights

LEAST = 0.03  # of the share 1 / K that an earlier step has at first, until annealing ends; as in the authors' code


@OUTER_LOSSES.register("multi_step")
@dataclass(frozen=True, kw_only=True)
class MultiStep(OuterLoss):
    """The losses after all inner steps, which count alike at first, and later the last one alone."""

    annealing_iterations: Annotated[int, at_least(1)] = 7500
    """Iterations over which the weights of the earlier steps fall to zero; MAML++ has 15 of 100 epochs, an epoch being
    500 iterations."""

    def build(self, inner_steps: int) -> StepWeights:
        """Make the weights, whose sum is 1. Raises ValueError for fewer than two inner steps, which have no earlier."""
        if inner_steps < 2:
            raise ValueError(
                f"outer_loss multi_step needs at least 2 inner steps in training; got {inner_steps}: choose last_step"
            )

        def weights(iteration: int) -> list[float]:
            left = 1 - iteration / self.annealing_iterations
            early = max(left, LEAST) / inner_steps if left > 0 else 0.0
            return [early] * (inner_steps - 1) + [1 - early * (inner_steps - 1)]

        return weights
