"""Outer losses: how well a task was adapted to. One a file; a file that registers a part is all it takes."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from metarl.engine.maml import AdaptedTask
from metarl.engine.params import Params
from metarl.parts import Part, Registry
from metarl.rl.distributions import Distribution
from metarl.rl.episodes import PolicyBatch
from metarl.rl.inner_losses import PolicyLoss

Act = Callable[[Params, PolicyBatch], Distribution]  # a policy's parameters and one task's batch -> its outputs
OuterPolicyLoss = Callable[[AdaptedTask, PolicyLoss, Act], Tensor]


class OuterLoss(Part, ABC):
    """The loss of the outer step."""

    @abstractmethod
    def build(self) -> OuterPolicyLoss:
        """Make the loss: an adapted task, a surrogate, and what the policy does under other parameters -> scalar.

        The surrogate is the likelihood ratio's, or the clipped one where the outer optimiser asks for it.
        """


OUTER_LOSSES = Registry[OuterLoss]("outer_loss", "metarl.rl.outer_losses")
