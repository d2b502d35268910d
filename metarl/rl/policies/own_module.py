"""Anybody's `torch.nn.Module` as a policy: it becomes the mean of a Gaussian, or the logits of categories."""

import dataclasses
import functools
import inspect
import typing
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from gymnasium import Space
from gymnasium.spaces import Box
from torch import nn

from metarl.engine.model import Model
from metarl.engine.module import keyed
from metarl.parts import POSITIVE
from metarl.rl.policies.policy import CATEGORICAL, Policy, categorical, gaussian, require_stds
from metarl.rl.spaces import action_size, categories, observation_size


@dataclass(frozen=True, kw_only=True)
class ModulePolicy(Policy):
    """A network of one's own; `policy_of` makes a part of its class."""

    action_spaces: ClassVar[tuple[type[Space], ...]] = (Box, *CATEGORICAL)
    network: ClassVar[type[nn.Module]]

    initial_std: Annotated[float, POSITIVE] = 1.0
    """Initial standard deviation of real actions, in the policy's units (the action space is [-1, 1])."""
    min_std: Annotated[float, POSITIVE] = 1e-6
    """Lower bound of the standard deviation of real actions."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_stds(self.initial_std, self.min_std)

    def build(self, observation_space: Space, action_space: Space) -> Model:
        """Make the policy; see `Policy.build`. What goes wrong in the network is the network's own error."""
        self.require_fit(action_space)
        counts = categories(action_space)
        size = sum(counts) if counts is not None else action_size(action_space)
        own = {name: getattr(self, name) for name in _keywords(self.network)}
        network = keyed(functools.partial(self.network, observation_size(observation_space), size, **own))
        if counts is None:
            return gaussian(network, size, initial_std=self.initial_std, min_std=self.min_std)
        for name in ("initial_std", "min_std"):
            if (value := getattr(self, name)) != getattr(ModulePolicy, name):
                raise ValueError(f"{name} means nothing for discrete actions; got {value} for {action_space}")
        return categorical(network, counts)


def policy_of(network: type[nn.Module]) -> type[ModulePolicy]:
    """A policy part whose mean (real actions) or logits (discrete ones) a network puts out.

    Args:
        network: its constructor takes the sizes of an observation and of an action, in this order (of discrete actions
            the number of all categories); its keyword-only parameters become options of the part.

    Raises:
        ValueError: a keyword-only parameter without a type.
    """
    hints = typing.get_type_hints(network.__init__, include_extras=True)
    fields = []
    for name, parameter in _keywords(network).items():
        if name not in hints:
            raise ValueError(f"option {name!r} of {network.__name__} needs a type, such as {name}: int = 64")
        default = dataclasses.MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append((name, hints[name], dataclasses.field(default=default)))
    return typing.cast(
        type[ModulePolicy],
        dataclasses.make_dataclass(
            network.__name__,
            fields,
            bases=(ModulePolicy,),
            namespace={"network": network, "__doc__": network.__doc__, "__module__": network.__module__},
            frozen=True,
            kw_only=True,
        ),
    )


def adopted(thing: Any) -> type[Policy] | None:
    """The policy of a network's class, which users name on the command line; None of anything else."""
    return policy_of(thing) if isinstance(thing, type) and issubclass(thing, nn.Module) else None


def _keywords(network: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of a network's constructor."""
    parameters = inspect.signature(network).parameters
    return {
        name: parameter for name, parameter in parameters.items() if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
