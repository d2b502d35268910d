"""Losses and scores of ONE task: outputs [N, O] of the model against the targets of its examples."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import cross_entropy as torch_cross_entropy

from metarl.supervised.tasks import Examples


def mean_squared_error(outputs: Tensor, examples: Examples) -> Tensor:
    """Mean over examples and outputs of the squared error (Finn et al. 2017, eq. 2, which sums)."""
    return (outputs - examples.targets).square().mean()


def cross_entropy(outputs: Tensor, examples: Examples) -> Tensor:
    """Mean over examples of -log p(target), in nats (eq. 3, which sums): outputs are logits [N, W].

    The authors' release sums over the examples and divides by the shots: its step sizes are W times smaller.
    """
    return torch_cross_entropy(outputs, examples.targets)


def accuracy(outputs: Tensor, examples: Examples) -> Tensor:
    """Share of the examples whose largest logit is the target's."""
    return (outputs.argmax(-1) == examples.targets).to(outputs.dtype).mean()


class Kind(NamedTuple):
    """The loss that is minimised, and the scores that are reported, by name."""

    loss: Callable[[Tensor, Examples], Tensor]
    scores: dict[str, Callable[[Tensor, Examples], Tensor]]


KINDS: dict[str, Kind] = {
    "regression": Kind(mean_squared_error, {"loss": mean_squared_error}),
    "classification": Kind(cross_entropy, {"loss": cross_entropy, "accuracy": accuracy}),
}
