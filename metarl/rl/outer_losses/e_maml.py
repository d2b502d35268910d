"""E-MAML's outer loss: what is sampled before adaptation is credited with the return after it (Stadie et al. 2018).

The expected return after adaptation depends on theta in two ways: the policy that is adapted, and the episodes that it
is adapted on, which theta samples. MAML's surrogate differentiates the first alone.
"""

from dataclasses import dataclass
from typing import Annotated

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
    """The surrogate, and the log-probabilities before adaptation times the returns after it."""

    exploration: Annotated[float, POSITIVE] = 1.0
    """Weight of the second term, a mean over episodes. The number of episodes is the weight that makes the sum over
    episodes of the paper's gradient, whose variance is larger."""

    def build(self) -> OuterPolicyLoss:
        """Make the loss. The second term has the advantages' scale: it is divided by the returns' deviation."""

        def loss(task: AdaptedTask, surrogate: PolicyLoss, act: Act) -> Tensor:
            explored = exploration(task, surrogate, act) / (deviation(task) + 1e-8)
            return surrogate(task.outputs, task.query) + self.exploration * explored

        return loss


def exploration(task: AdaptedTask, surrogate: PolicyLoss, act: Act) -> Tensor:
    """The surrogate of each policy before an inner step, every timestep weighed with how much better theta' did.

    Better than the other episodes of the same batch, whose mean does not depend on the episode that is weighed: a
    baseline without bias. Its gradient where the episodes were sampled is that of the log-probabilities.
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
    """Undiscounted, over the episodes that count: a scalar, 0 if there are none."""
    return batch.rewards.sum() / batch.mask.amax(0).sum().clamp(min=1)


def _mean_of_others(batch: PolicyBatch) -> Tensor:
    """Of each episode, the mean undiscounted return of the others that count, [E]; 0 where there are none."""
    returns = batch.rewards.sum(0)
    counted = batch.mask.amax(0)
    others = counted.sum() - counted
    return (returns.sum() - returns) / others.clamp(min=1)
