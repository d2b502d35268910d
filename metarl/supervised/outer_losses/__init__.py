"""Outer losses of supervised MAML: which of the losses on the query count, one a file. A new one is one file here."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from metarl.parts import Part, Registry

StepWeights = Callable[[int], Sequence[float]]  # iteration -> weights of the losses after inner steps 1 .. K


class OuterLoss(Part, ABC):
    """What the outer step minimises: a weighted sum of the losses on the query after the inner steps."""

    @abstractmethod
    def build(self, inner_steps: int) -> StepWeights | None:
        """Make the weights, a function of the iteration alone; None for the loss after the last step.

        Args:
            inner_steps: K, the inner steps of training.

        Raises:
            ValueError: the loss makes no sense for so many steps.
        """


OUTER_LOSSES = Registry[OuterLoss]("outer_loss", "metarl.supervised.outer_losses", base=OuterLoss)
