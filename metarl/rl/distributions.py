"""Distributions over actions: the outputs of policies. Each is a NamedTuple of tensors, and so passes through vmap.

Axes: A action dimensions, K categories of each. Every distribution makes its samples from standard normal noise, so
that the sampler needs to know the number of action dimensions alone.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

# Logit of a category that does not exist. Its probability is 0; an infinite logit would make KL divergences nan.
IMPOSSIBLE = -1e9


class Distribution(Protocol):
    """What sampler, losses and agents ask of a policy's outputs; leading axes [...] are arbitrary."""

    def __iter__(self) -> Iterator[Tensor]:
        """The distribution's tensors, as a NamedTuple gives them."""
        ...

    @property
    def mode(self) -> Tensor:
        """The most probable actions [..., A]."""
        ...

    def sample(self, noise: Tensor) -> Tensor:
        """Actions [..., A] from standard normal noise [..., A]; nan where the distribution is not finite."""
        ...

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(a) of actions [..., A], summed over the action dimensions: [...]."""
        ...

    def kl(self, other: Self) -> Tensor:
        """Return KL(self || other) in nats, [...]. Its gradient in `other` is zero where other equals self."""
        ...

    def spread(self) -> dict[str, Tensor]:
        """Return by name how much the actions scatter, in tensors of any shape, for the log to show exploration."""
        ...


class DiagonalGaussian(NamedTuple):
    """Real actions with independent dimensions."""

    mean: Tensor  # [..., A]
    log_std: Tensor  # [..., A]

    @property
    def mode(self) -> Tensor:
        """The mean, [..., A]."""
        return self.mean

    def sample(self, noise: Tensor) -> Tensor:
        """Actions [..., A] from standard normal noise [..., A]."""
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(a) of actions [..., A], summed over action dimensions: [...]."""
        z = (actions - self.mean) * (-self.log_std).exp()
        return -(0.5 * z**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """Return KL(self || other) in nats, [...]. Its gradient in `other` is exactly zero where other equals self."""
        ratio = (2 * (self.log_std - other.log_std)).exp()
        distance = ((self.mean - other.mean) * (-other.log_std).exp()) ** 2
        return (other.log_std - self.log_std + 0.5 * (ratio + distance - 1)).sum(-1)

    def spread(self) -> dict[str, Tensor]:
        """`std`: the standard deviations [..., A]."""
        return {"std": self.log_std.exp()}


class Categorical(NamedTuple):
    """A choice of one category in each of A independent action dimensions; actions are whole numbers from 0."""

    logits: Tensor  # [..., A, K]; IMPOSSIBLE where a dimension has fewer than K categories

    @property
    def mode(self) -> Tensor:
        """The most probable category of each dimension, [..., A]."""
        return self.logits.argmax(-1).to(self.logits.dtype)

    def sample(self, noise: Tensor) -> Tensor:
        """Categories [..., A] from standard normal noise [..., A], by inverting the cumulative distribution.

        nan where the logits are not finite.
        """
        # Noise above 5.4 would round to 1, which no category's cumulative probability exceeds.
        uniform = torch.special.ndtr(noise).clamp(max=1 - torch.finfo(noise.dtype).eps)
        cumulative = self.logits.softmax(-1).cumsum(-1)
        total = cumulative[..., -1:]
        # Divided by its own rounded total, the last cumulative probability is exactly 1, so that no impossible category
        # is ever chosen.
        passed = (cumulative / total <= uniform[..., None]).sum(-1)
        # Adding 0 * total makes the choice nan where the logits are not finite.
        return passed + 0 * total[..., 0]

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return log pi(a) of categories [..., A], summed over the dimensions: [...]."""
        chosen = self.logits.log_softmax(-1).gather(-1, actions.long()[..., None])
        return chosen[..., 0].sum(-1)

    def kl(self, other: "Categorical") -> Tensor:
        """Return KL(self || other) in nats, [...]. Its gradient in `other` is 0, to rounding, where both are equal."""
        own = self.logits.log_softmax(-1)
        return (own.exp() * (own - other.logits.log_softmax(-1))).sum((-2, -1))

    def spread(self) -> dict[str, Tensor]:
        """`entropy`: in nats, summed over the dimensions, [...]."""
        log_probs = self.logits.log_softmax(-1)
        return {"entropy": -(log_probs.exp() * log_probs).sum((-2, -1))}
