"""Networks for supervised tasks, one a file, its options beside it.

A network of your own is a dataclass with a method `build`, a `torch.nn.Module` class, or a function that gives a Model
or a module. It is chosen as MODULE:NAME. Classes and functions are called with the shape of one input, the number of
outputs and the kind of problem; their keyword-only parameters are their options:

    class Small(nn.Module):
        def __init__(self, input_shape: tuple[int, ...], outputs: int, kind: str, *, width: int = 32) -> None: ...
        def forward(self, inputs: Tensor) -> Tensor: ...    # [N, *input_shape] -> [N, outputs]
"""

import dataclasses
import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from metarl.engine.model import Model
from metarl.engine.module import keyed
from metarl.parts import Part, Registry
from metarl.supervised.tasks import KindName
from metarl.user_code import part_of_function


class Network(Part, ABC):
    """Base of the networks' options."""

    @abstractmethod
    def build(self, input_shape: Sequence[int], outputs: int, kind: KindName) -> Model:
        """Make the network: inputs [N, *input_shape] -> [N, outputs].

        Raises:
            ValueError: the network cannot take such inputs.
        """


def require_images(network: str, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """The height, width and channels of an input. Raises ValueError if inputs are no images."""
    if len(input_shape) != 3:
        raise ValueError(
            f"network {network} needs images [height, width, channels]; inputs have the shape {list(input_shape)}: "
            "choose dense"
        )
    height, width, channels = input_shape
    return height, width, channels


def _adopted(thing: Any) -> type[Network] | None:
    """Make a part of a user's class of modules, or of a function that makes models or modules; None of others."""
    if isinstance(thing, type) and issubclass(thing, nn.Module):
        options = part_of_function(thing.__init__, Network)
    elif inspect.isfunction(thing):
        options = part_of_function(thing, Network)
    else:
        return None
    names = [field.name for field in dataclasses.fields(options)]

    def build(part: Any, input_shape: Sequence[int], outputs: int, kind: KindName) -> Model:
        chosen = {name: getattr(part, name) for name in names}
        make = functools.partial(thing, tuple(input_shape), outputs, kind, **chosen)
        takes = "the shape of an input, the number of outputs and the kind of problem"
        expected = takes, torch.zeros(2, *input_shape), (2, outputs)
        if isinstance(thing, type):
            return keyed(make, *expected)
        found = make()
        if isinstance(found, Model):
            return found
        if isinstance(found, nn.Module):
            return keyed(make, *expected)
        raise ValueError(f"{thing.__name__} must give a torch.nn.Module or a Model; got {type(found).__name__}")

    namespace = {"build": build, "__doc__": thing.__doc__, "__module__": thing.__module__}
    return cast(type[Network], type(thing.__name__, (options,), namespace))


NETWORKS: Registry[Network] = Registry(
    "network", "metarl.supervised.networks", adopt=_adopted, adopted="a class of torch.nn.Module", base=Network
)
