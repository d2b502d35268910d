"""E-MAML's outer loss: episodes before adaptation are credited with the return after it (Stadie et al. 2018).

The expected return after adaptation depends on theta in two ways: through the policy that is adapted, and through the
episodes that it is adapted on, which theta samples. MAML's surrogate differentiates the first alone.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from metarl.engine.maml import AdaptedTask
from metarl.parts import POSITIVE
from metarl.rl.episodes import PolicyBatch
from metarl.rl.inner_losses import PolicyLoss
from metarl.rl.outer_losses import OUTER_LOSSES, Act, OuterLoss, OuterPolicyLoss


@OUTER_LOSSES.register("e_maml")
@dataclass(frozen=True, kw_only=True)
class EMAML(OuterLoss):
    """The surrogate plus the log-probabilities before adaptation times the returns after it."""

    needs_inner_steps: ClassVar[bool] = True

    exploration: Annotated[float, POSITIVE] = 1.0
    """Weight of the second term, which is a mean over episodes. The paper's gradient sums over episodes instead: its
    weight is the number of episodes, and its variance is larger."""

    def build(self) -> OuterPolicyLoss:
        """Make the loss. The second term is divided by the returns' deviation, so that it has the advantages' scale."""

        def loss(task: AdaptedTask, surrogate: PolicyLoss, act: Act) -> Tensor:
            explored = exploration(task, surrogate, act) / (deviation(task) + 1e-8)
            return surrogate(task.outputs, task.query) + self.exploration * explored

        return loss


def exploration(task: AdaptedTask, surrogate: PolicyLoss, act: Act) -> Tensor:
    """The surrogate of each policy before an inner step, whose advantage at every timestep is the gain of theta'.

    The gain of an episode is the mean return of theta' minus that of the other episodes of the same batch: a baseline
    that does not depend on the episode itself, and so has no bias. At the parameters that sampled the episodes, the
    surrogate's gradient is that of log-probabilities times gains.
    """
    total = torch.zeros_like(task.query.rewards[0, 0])
    for params, batch in zip(task.path, task.support, strict=True):
        gain = (_mean_return(task.query) - _mean_of_others(batch)).expand_as(batch.mask)
        total = total + surrogate(act(params, batch), batch._replace(advantages=gain))
    return total


def deviation(task: AdaptedTask) -> Tensor:
    """Standard deviation of the returns of all episodes of a task that count, before and after adaptation."""
    batches = (*task.support, task.query)
    returns = torch.cat([batch.rewards.sum(0) for batch in batches])
    counted = torch.cat([batch.mask.amax(0) for batch in batches])
    count = counted.sum().clamp(min=1)
    mean = (returns * counted).sum() / count
    return (((returns - mean).square() * counted).sum() / count).sqrt()


def _mean_return(batch: PolicyBatch) -> Tensor:
    """The mean undiscounted return of the episodes that count: a scalar, 0 if none counts."""
    return batch.rewards.sum() / batch.mask.amax(0).sum().clamp(min=1)


def _mean_of_others(batch: PolicyBatch) -> Tensor:
    """For each episode the mean undiscounted return of the others that count, [E]; 0 where no other counts."""
    returns = batch.rewards.sum(0)
    counted = batch.mask.amax(0)
    others = counted.sum() - counted
    return (returns.sum() - returns) / others.clamp(min=1)
