"""Outer losses: how well a task was adapted to, one a file. A new one is one file here."""

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
OuterPolicyLoss = Callable[[AdaptedTask, PolicyLoss, Act], Tensor]  # see `OuterLoss.build`


class OuterLoss(Part, ABC):
    """The loss of the outer step."""

    @abstractmethod
    def build(self) -> OuterPolicyLoss:
        """Make the loss, a function (task, surrogate, act) -> scalar.

        `task` is an adapted task. `surrogate` is the loss of a policy's outputs on a batch: `losses.likelihood_ratio`,
        or its clipped form where the outer optimiser asks for it. `act` gives the policy's outputs under any
        parameters.
        """


OUTER_LOSSES = Registry[OuterLoss]("outer_loss", "metarl.rl.outer_losses", base=OuterLoss)
