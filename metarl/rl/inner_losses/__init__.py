"""Inner losses: what the gradient steps of a task descend, one a file. A new one is one file here."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from metarl.parts import Part, Registry
from metarl.rl.distributions import Distribution
from metarl.rl.episodes import PolicyBatch

PolicyLoss = Callable[[Distribution, PolicyBatch], Tensor]  # a policy's outputs on one task's batch -> scalar


class InnerLoss(Part, ABC):
    """The loss of the inner gradient steps."""

    @abstractmethod
    def build(self) -> PolicyLoss:
        """Make the loss: the adapted policy's distribution on a batch [T, E, ...] of one task -> scalar."""


INNER_LOSSES = Registry[InnerLoss]("inner_loss", "metarl.rl.inner_losses", base=InnerLoss)
