"""Outer losses: how well a task was adapted to, one a file. A new one is one file here."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from metarl.engine.maml import AdaptedTask, Learner
from metarl.engine.maml import OuterLoss as EngineLoss
from metarl.engine.objective import TaskFunctions
from metarl.engine.params import Params
from metarl.parts import Part, Registry
from metarl.rl.distributions import Distribution
from metarl.rl.episodes import PolicyBatch, timestep_subset
from metarl.rl.inner_losses import PolicyLoss
from metarl.rl.losses import clipped_likelihood_ratio, likelihood_ratio, mean_kl

Act = Callable[[Params, PolicyBatch], Distribution]  # a policy's parameters and one task's batch -> its outputs
OuterPolicyLoss = Callable[[AdaptedTask, PolicyLoss, Act], Tensor]  # see `OuterLoss.build`


class OuterLoss(Part, ABC):
    """The loss of the outer step."""

    needs_inner_steps: ClassVar[bool] = False
    """Whether a term of the loss is about inner steps; a training without any is refused."""

    @abstractmethod
    def build(self) -> OuterPolicyLoss:
        """Make the loss, a function (task, surrogate, act) -> scalar.

        `task` is an adapted task. `surrogate` is the loss of a policy's outputs on a batch: `losses.likelihood_ratio`,
        or its clipped form where the outer optimiser asks for it. `act` gives the policy's outputs under any
        parameters.
        """


OUTER_LOSSES = Registry[OuterLoss]("outer_loss", "metarl.rl.outer_losses", base=OuterLoss)


def functions_of(outer_loss: OuterPolicyLoss, learner: Learner) -> TaskFunctions:
    """Bind an outer loss to a learner's policy: what the engine asks of adapted policies."""

    def clipped(epsilon: float) -> EngineLoss:
        surrogate = functools.partial(clipped_likelihood_ratio, epsilon=epsilon)
        return lambda task: outer_loss(task, surrogate, learner.predict)

    return TaskFunctions(
        outer_loss=lambda task: outer_loss(task, likelihood_ratio, learner.predict),
        divergence=mean_kl,
        subset=timestep_subset,
        clipped=clipped,
    )
