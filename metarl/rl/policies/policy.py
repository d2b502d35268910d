"""The base of policies, and distributions over actions made of a network's outputs."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor

from metarl.engine.model import Model
from metarl.engine.params import Params, joined
from metarl.parts import Part
from metarl.rl.distributions import IMPOSSIBLE, Categorical, DiagonalGaussian
from metarl.rl.spaces import action_size

CATEGORICAL = (Discrete, MultiDiscrete, MultiBinary)


class Policy(Part, ABC):
    """A model of the actions, given the observation."""

    action_spaces: ClassVar[tuple[type[Space], ...]] = (Box, *CATEGORICAL)
    """The action spaces that the policy can choose from."""

    @abstractmethod
    def build(self, observation_space: Space, action_space: Space) -> Model:
        """Make the policy for the spaces of a single environment.

        Returns:
            A model: flattened observations [..., O] -> a `distributions.Distribution` over actions [..., A].

        Raises:
            ValueError: the policy does not fit the spaces.
        """

    def fits(self, action_space: Space) -> bool:
        """Whether the policy can choose actions of this space."""
        return isinstance(action_space, self.action_spaces)

    def require_fit(self, action_space: Space) -> None:
        """Raise ValueError, which names the policy that fits, unless this policy can choose actions of this space."""
        if not self.fits(action_space):
            own = " or ".join(kind.__name__ for kind in self.action_spaces)
            raise ValueError(
                f"policy {type(self).__name__} chooses actions of a {own}; this environment's are {action_space}: "
                f"choose policy {default_policy(action_space)}"
            )


def default_policy(action_space: Space) -> str:
    """The name of the policy that an action space gets where none was chosen.

    Raises:
        ValueError: there is no policy for such a space.
    """
    action_size(action_space)
    return "gaussian_mlp" if isinstance(action_space, Box) else "categorical_mlp"


def gaussian(mean: Model, size: int, *, initial_std: float, min_std: float) -> Model:
    """A Gaussian policy: a network gives the mean, and a parameter `log_std` [A] the standard deviation.

    Args:
        mean: the network, observations [..., O] -> [..., A].
        size: A.
        initial_std: standard deviation at the start.
        min_std: lower bound of the standard deviation.

    Raises:
        ValueError: standard deviations that are not 0 < min_std <= initial_std.
    """
    require_stds(initial_std, min_std)

    def init(generator: torch.Generator) -> Params:
        log_std = torch.full((size,), math.log(initial_std))
        return joined(mean.init(generator), {"log_std": log_std}, "a Gaussian policy")

    def bounded(log_std: Tensor) -> Tensor:
        return log_std.clamp(min=math.log(min_std))

    def apply(params: Params, observations: Tensor) -> DiagonalGaussian:
        means = mean.apply(params, observations)
        return DiagonalGaussian(means, bounded(params["log_std"]).expand_as(means))

    def stacked(params: Params, observations: Tensor) -> DiagonalGaussian:
        means = mean.apply_stacked(params, observations)
        return DiagonalGaussian(means, bounded(params["log_std"])[:, None].expand_as(means))

    return Model(init, apply, stacked)


def require_stds(initial_std: float, min_std: float) -> None:
    """Raise ValueError unless 0 < min_std <= initial_std."""
    if not 0 < min_std <= initial_std < math.inf:
        raise ValueError(f"need 0 < min_std <= initial_std; got min_std {min_std}, initial_std {initial_std}")


def categorical(logits: Model, counts: Sequence[int]) -> Model:
    """A policy over categories: a network gives the logits of all action dimensions, one dimension after another.

    Args:
        logits: the network, observations [..., O] -> [..., sum(counts)].
        counts: categories of each of the A action dimensions.
    """
    most = max(counts)

    def distribution(outputs: Tensor) -> Categorical:
        parts = outputs.split(list(counts), -1)
        padded = [torch.nn.functional.pad(part, (0, most - part.shape[-1]), value=IMPOSSIBLE) for part in parts]
        return Categorical(torch.stack(padded, -2))

    def apply(params: Params, observations: Tensor) -> Categorical:
        return distribution(logits.apply(params, observations))

    def stacked(params: Params, observations: Tensor) -> Categorical:
        return distribution(logits.apply_stacked(params, observations))

    return Model(logits.init, apply, stacked)
