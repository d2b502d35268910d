"""Any `torch.nn.Module` as a policy: its outputs are the mean of a Gaussian, or the logits of categories."""

import dataclasses
import functools
import typing
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from gymnasium import Space
from torch import nn

from metarl.engine.model import Model
from metarl.engine.module import keyed
from metarl.parts import POSITIVE
from metarl.rl.policies.policy import Policy, categorical, gaussian, require_stds
from metarl.rl.spaces import action_size, categories, observation_size
from metarl.user_code import keyword_fields


@dataclass(frozen=True, kw_only=True)
class ModulePolicy(Policy):
    """A policy with a user's network; `policy_of` makes a part of the network's class."""

    network: ClassVar[type[nn.Module]]

    initial_std: Annotated[float, POSITIVE] = 1.0
    """Initial standard deviation of real actions, in the policy's units (the action space is [-1, 1])."""
    min_std: Annotated[float, POSITIVE] = 1e-6
    """Lower bound of the standard deviation of real actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_stds(self.initial_std, self.min_std)

    def build(self, observation_space: Space, action_space: Space) -> Model:
        """Make the policy; see `Policy.build`. An error inside the network is passed on as it is."""
        self.require_fit(action_space)
        counts = categories(action_space)
        size = sum(counts) if counts is not None else action_size(action_space)
        own = {name: getattr(self, name) for name, *_ in keyword_fields(self.network.__init__)}
        seen = observation_size(observation_space)
        make = functools.partial(self.network, seen, size, **own)
        # Policies are applied to observations of any leading axes.
        takes = "the size of an observation and the number of outputs"
        network = keyed(make, takes, torch.zeros(2, 3, seen), (2, 3, size))
        _require_each_alone(network, seen)
        if counts is None:
            return gaussian(network, size, initial_std=self.initial_std, min_std=self.min_std)
        for name in ("initial_std", "min_std"):
            if (value := getattr(self, name)) != getattr(ModulePolicy, name):
                raise ValueError(f"{name} means nothing for discrete actions; got {value} for {action_space}")
        return categorical(network, counts)


def _require_each_alone(network: Model, size: int) -> None:
    """Raise ValueError where the outputs of an observation [size] depend on the others beside it."""
    observations = torch.rand(2, 3, size, generator=torch.Generator().manual_seed(0))
    theta = network.init(torch.Generator())
    with torch.no_grad():
        together = network.apply(theta, observations)[0, 0]
        alone = network.apply(theta, observations[:1, :1])[0, 0]
    if not torch.allclose(alone, together, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise ValueError(
            "a policy's outputs for an observation must not depend on the others beside it, or the policy that learns "
            "is another than the one that acts: leave out means over a batch, as in batch norm"
        )


def policy_of(network: type[nn.Module]) -> type[ModulePolicy]:
    """Make a policy part of a network's class, whose outputs are a mean (real actions) or logits (discrete actions).

    Args:
        network: its constructor takes the size of an observation and the number of outputs, in this order: the size of
            an action, or the number of all categories. Its keyword-only parameters become options of the part.

    Raises:
        ValueError: a keyword-only parameter without a type.
    """
    return typing.cast(
        type[ModulePolicy],
        dataclasses.make_dataclass(
            network.__name__,
            keyword_fields(network.__init__),
            bases=(ModulePolicy,),
            namespace={"network": network, "__doc__": network.__doc__, "__module__": network.__module__},
            frozen=True,
            kw_only=True,
        ),
    )


def adopted(thing: Any) -> type[Policy] | None:
    """The policy part of a network's class that a user names; None for any other object."""
    return policy_of(thing) if isinstance(thing, type) and issubclass(thing, nn.Module) else None
