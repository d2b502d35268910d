"""Gaussian policies: a network for the mean, a state-independent standard deviation that is adapted too."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.engine.model import Model, mlp
from metarl.engine.params import Params


class DiagonalGaussian(NamedTuple):
    """A distribution over actions with independent dimensions; both fields are [..., A]. Passes through vmap."""

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Actions [..., A] from standard normal noise [..., A]."""
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, actions: Tensor) -> Tensor:
        """log pi(a) of actions [..., A], summed over action dimensions: [...]."""
        z = (actions - self.mean) * (-self.log_std).exp()
        return -(0.5 * z**2 + self.log_std + 0.5 * math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, [...]."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """KL(self || other) in nats, [...]. Its gradient in `other` is exactly zero where other equals self."""
        ratio = (2 * (self.log_std - other.log_std)).exp()
        distance = ((self.mean - other.mean) * (-other.log_std).exp()) ** 2
        return (other.log_std - self.log_std + 0.5 * (ratio + distance - 1)).sum(-1)


def gaussian_mlp(
    observation_size: int,
    action_size: int,
    *,
    hidden_sizes: Sequence[int] = (100, 100),
    activation: str = "relu",
    initial_std: float = 1.0,
    min_std: float = 1e-6,
) -> Model:
    """The paper's policy (the authors' release): observations [..., O] -> DiagonalGaussian with fields [..., A].

    Raises:
        ValueError: a standard deviation that is not positive, a size below 1, an unknown activation.
    """
    if not 0 < min_std <= initial_std < math.inf:
        raise ValueError(f"need 0 < min_std <= initial_std; got min_std {min_std}, initial_std {initial_std}")
    network = mlp((observation_size, *hidden_sizes, action_size), activation)

    def init(generator: torch.Generator) -> Params:
        return {**network.init(generator), "log_std": torch.full((action_size,), math.log(initial_std))}

    def bounded(log_std: Tensor) -> Tensor:
        return log_std.clamp(min=math.log(min_std))

    def apply(params: Params, observations: Tensor) -> DiagonalGaussian:
        mean = network.apply(params, observations)
        return DiagonalGaussian(mean, bounded(params["log_std"]).expand_as(mean))

    def stacked(params: Params, observations: Tensor) -> DiagonalGaussian:
        mean = network.apply_stacked(params, observations)
        return DiagonalGaussian(mean, bounded(params["log_std"])[:, None].expand_as(mean))

    return Model(init, apply, stacked)
