"""Any `torch.nn.Module` as a model."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metarl.engine.model import Model
from metarl.engine.params import Params


def from_module(module: nn.Module) -> Model:
    """Any `torch.nn.Module` as a Model: its present parameters are the initial ones, its buffers stay as they are.

    The module is copied, with its mode (train or eval) and device. About a fifth slower under vmap than a model written
    as a function.

    Raises:
        ValueError: a normalisation layer that keeps running statistics (they are state, not parameters).
    """
    if tracking := [name for name, part in module.named_modules() if getattr(part, "track_running_stats", False)]:
        raise ValueError(f"layer {tracking[0]!r} keeps running statistics: build it with track_running_stats=False")
    initial = {name: leaf.detach().clone() for name, leaf in module.named_parameters()}
    own = copy.deepcopy(module)
    _scale_apart(own)

    def init(generator: torch.Generator) -> Params:
        return {name: leaf.clone() for name, leaf in initial.items()}

    def apply(params: Params, inputs: Tensor) -> Any:
        return functional_call(own, {name: params[name] for name in initial}, (inputs,))  # a rule may have added others

    return Model(init, apply)


def keyed(make: Callable[[], nn.Module]) -> Model:
    """A model whose initial parameters are those of a module that `make` makes with the generator's numbers.

    Modules draw their initial weights from torch's global generator, which is given back as it was.
    """

    def made(generator: torch.Generator) -> Model:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(generator.get_state())
            return from_module(make())

    def init(generator: torch.Generator) -> Params:
        return made(generator).init(generator)

    return made(torch.Generator())._replace(init=init)


SCALING: dict[type[nn.Module], Callable[[Tensor], int]] = {  # inputs -> how many axes follow those of the weight
    nn.LayerNorm: lambda inputs: 0,
    nn.modules.batchnorm._BatchNorm: lambda inputs: inputs.dim() - 2,  # [N, C, ...]
    nn.InstanceNorm1d: lambda inputs: 1,  # these also take inputs [C, ...]
    nn.InstanceNorm2d: lambda inputs: 2,
    nn.InstanceNorm3d: lambda inputs: 3,
}


def _scale_apart(module: nn.Module) -> None:
    """Have torch's normalisation layers in a module scale in a step of its own.

    In one step, torch 2.13 differentiates them wrongly outside vmap: see `trust_region.gauss_newton`.
    """
    for layer in module.modules():
        for kind, trailing_axes in SCALING.items():
            own_forward = type(layer).forward is not kind.forward  # a subclass that may do anything
            if isinstance(layer, kind) and not own_forward and layer.weight is not None:
                layer.forward = _scaling_apart(layer, kind, trailing_axes)


def _scaling_apart(
    layer: nn.Module, kind: type[nn.Module], trailing_axes: Callable[[Tensor], int]
) -> Callable[[Tensor], Tensor]:
    bare = copy.copy(layer)
    bare._parameters = dict.fromkeys(layer._parameters)

    def forward(inputs: Tensor) -> Tensor:
        outputs, ones = kind.forward(bare, inputs), (1,) * trailing_axes(inputs)
        weight, bias = layer._parameters["weight"], layer._parameters["bias"]  # of this call: functional_call's
        assert weight is not None
        outputs = outputs * weight.reshape(*weight.shape, *ones)
        return outputs if bias is None else outputs + bias.reshape(*bias.shape, *ones)

    return forward
