"""Models as pure functions: parameters are an argument, so that a task can have its own."""

import copy
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarl.engine.params import Params

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


class Model(NamedTuple):
    """init(generator) -> parameters;  apply(params, inputs) -> outputs, for the parameters of one task."""

    init: Callable[[torch.Generator], Params]
    apply: Callable[[Params, Tensor], Any]
    broadcasts: bool = False  # `apply` itself also takes what `apply_stacked` takes

    def apply_stacked(self, params: Params, inputs: Tensor) -> Any:
        """Outputs of M tasks: stacked parameters (leaves [M, ...]), inputs [M, N, I]. A sampler's every timestep."""
        return self.apply(params, inputs) if self.broadcasts else vmap(self.apply)(params, inputs)


def mlp(sizes: Sequence[int], activation: str) -> Model:
    """A fully connected network: inputs [..., sizes[0]] -> outputs [..., sizes[-1]].

    Weights are Xavier-uniform, biases zero (the authors' release); the last layer is linear.

    Raises:
        ValueError: a size below 1, or an unknown activation.
    """
    if min(sizes) < 1:
        raise ValueError(f"layer sizes must be at least 1; got {list(sizes)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    layers, nonlinearity = len(sizes) - 1, ACTIVATIONS[activation]

    def init(generator: torch.Generator) -> Params:
        params: Params = {}
        for layer, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            bound = (6 / (fan_in + fan_out)) ** 0.5
            params[f"weight{layer}"] = bound * (2 * torch.rand(fan_out, fan_in, generator=generator) - 1)
            params[f"bias{layer}"] = torch.zeros(fan_out)
        return params

    def apply(params: Params, inputs: Tensor) -> Tensor:
        hidden = inputs
        for layer in range(layers):
            hidden = _linear(hidden, params[f"weight{layer}"], params[f"bias{layer}"])
            if layer < layers - 1:
                hidden = nonlinearity(hidden)
        return hidden

    return Model(init, apply, broadcasts=True)


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """inputs W^T + b: [..., I] of one task (weight [O, I]), or [M, N, I] of M tasks (weight [M, O, I])."""
    if weight.dim() == 3:  # half the time of vmap's decomposition, which also multiplies the bias by one
        return torch.baddbmm(bias[:, None], inputs, weight.mT)
    return nn.functional.linear(inputs, weight, bias)


def from_module(module: nn.Module) -> Model:
    """Any `torch.nn.Module` as a Model: its present parameters are the initial ones, its buffers stay as they are.

    About a fifth slower under vmap than a model written as a function.

    Raises:
        ValueError: a normalisation layer that keeps running statistics (they are state, not parameters).
    """
    if tracking := [name for name, part in module.named_modules() if getattr(part, "track_running_stats", False)]:
        raise ValueError(f"layer {tracking[0]!r} keeps running statistics: build it with track_running_stats=False")
    initial = {name: leaf.detach().clone() for name, leaf in module.named_parameters()}
    own = _scale_apart(copy.deepcopy(module))

    def init(generator: torch.Generator) -> Params:
        return {name: leaf.clone() for name, leaf in initial.items()}

    return Model(init, lambda params, inputs: functional_call(own, params, (inputs,)))


class _ScaleApart(nn.Module):
    """A normalisation layer that scales in a step of its own; the parameters keep their names.

    In one step, torch 2.13 differentiates the layer wrongly outside vmap: see `trust_region.gauss_newton`.
    """

    def __init__(self, layer: nn.Module, trailing_axes: Callable[[Tensor], int]) -> None:
        super().__init__()
        self.weight: Tensor
        self.bias: Tensor | None
        for name in ("weight", "bias"):
            self.register_parameter(name, getattr(layer, name))
            setattr(layer, name, None)
        self.normalize, self.trailing_axes = layer, trailing_axes

    def forward(self, inputs: Tensor) -> Tensor:
        outputs, ones = self.normalize(inputs), (1,) * self.trailing_axes(inputs)
        outputs = outputs * self.weight.reshape(*self.weight.shape, *ones)
        return outputs if self.bias is None else outputs + self.bias.reshape(*self.bias.shape, *ones)


SCALING: dict[type[nn.Module], Callable[[Tensor], int]] = {  # inputs -> how many axes follow those of the weight
    nn.LayerNorm: lambda inputs: 0,
    nn.modules.batchnorm._BatchNorm: lambda inputs: inputs.dim() - 2,  # [N, C, ...]
    nn.InstanceNorm1d: lambda inputs: 1,  # these also take inputs [C, ...]
    nn.InstanceNorm2d: lambda inputs: 2,
    nn.InstanceNorm3d: lambda inputs: 3,
}


def _scale_apart(module: nn.Module) -> nn.Module:
    """The module, with `_ScaleApart` for every layer that normalises and scales by a parameter in one step."""
    for kind, trailing_axes in SCALING.items():
        if isinstance(module, kind) and getattr(module, "weight", None) is not None:
            return _ScaleApart(module, trailing_axes)
    for name, child in module.named_children():
        setattr(module, name, _scale_apart(child))
    return module
