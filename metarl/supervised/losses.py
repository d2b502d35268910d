"""Losses and scores of ONE task: outputs [N, O] of the model against the targets of its examples."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from metarl.engine.maml import AdaptedTask, OuterLoss
from metarl.engine.params import Params
from metarl.supervised.tasks import Examples

ExampleLoss = Callable[[Tensor, Examples], Tensor]  # outputs [N, O] and their examples -> scalar


class WeightedExamples(NamedTuple):
    """The query of M tasks, with the weights that the losses after the inner steps have in the outer loss."""

    inputs: Tensor  # [M, N, ...]
    targets: Tensor  # as those of `Examples`
    step_weights: Tensor  # [M, K], the same for all tasks; a tensor, so that a compiled gradient need not be recompiled


def mean_squared_error(outputs: Tensor, examples: Examples) -> Tensor:
    """Mean over examples and outputs of the squared error (Finn et al. 2017, eq. 2, which sums).

    Raises ValueError for targets of another shape than the outputs, which would be broadcast.
    """
    if outputs.shape != examples.targets.shape:
        raise ValueError(
            f"targets must have the shape of the network's outputs, {list(outputs.shape)} for a task; got "
            f"{list(examples.targets.shape)}"
        )
    return (outputs - examples.targets).square().mean()


def cross_entropy(outputs: Tensor, examples: Examples) -> Tensor:
    """Mean over examples of -log p(target), in nats (eq. 3, which sums): outputs are logits [N, W].

    The authors' release sums over the examples and divides by the shots: its step sizes are W times smaller.
    """
    return torch_cross_entropy(outputs, examples.targets)


def accuracy(outputs: Tensor, examples: Examples) -> Tensor:
    """Share of the examples whose largest logit is the target's."""
    return (outputs.argmax(-1) == examples.targets).to(outputs.dtype).mean()


def after_last_step(loss: ExampleLoss) -> OuterLoss:
    """Make MAML's outer loss: that of the adapted model on the query."""
    return lambda task: loss(task.outputs, task.query)


def after_each_step(loss: ExampleLoss, predict: Callable[[Params, WeightedExamples], Tensor]) -> OuterLoss:
    """Make the outer loss sum_k w_k L(theta_k), k = 1 .. K, of a query with weights (Antoniou et al. 2019, MAML++)."""

    def outer_loss(task: AdaptedTask) -> Tensor:
        query: WeightedExamples = task.query
        examples = Examples(query.inputs, query.targets)
        outputs = [*(predict(params, query) for params in task.path[1:]), task.outputs]
        return torch.stack([loss(of_step, examples) for of_step in outputs]) @ query.step_weights

    return outer_loss


class Kind(NamedTuple):
    """The loss that is minimised, and the scores that are reported, by name."""

    loss: ExampleLoss
    scores: dict[str, ExampleLoss]


KINDS: dict[str, Kind] = {
    "regression": Kind(mean_squared_error, {"loss": mean_squared_error}),
    "classification": Kind(cross_entropy, {"loss": cross_entropy, "accuracy": accuracy}),
}
