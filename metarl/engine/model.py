"""Models as pure functions: parameters are an argument, so that a task can have its own."""

import copy
import itertools
import math
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


def mlp(sizes: Sequence[int], activation: str, *, std: float | None = None) -> Model:
    """A fully connected network: inputs [..., sizes[0]] -> outputs [..., sizes[-1]]; the last layer is linear.

    Args:
        sizes: units of every layer, inputs first.
        activation: a key of ACTIVATIONS.
        std: weights start truncated normal with this standard deviation (the authors' networks for regression);
            None: Xavier-uniform (their policies). Biases start at zero.

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
            shape = (fan_out, fan_in)
            params[f"weight{layer}"] = (
                xavier_uniform(shape, generator) if std is None else truncated_normal(shape, std, generator)
            )
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


def xavier_uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """An initial weight [fan_out, fan_in, ...]; axes that follow (of a convolution's kernel) multiply both fans."""
    fan_out, fan_in = shape[0] * math.prod(shape[2:]), shape[1] * math.prod(shape[2:])
    bound = (6 / (fan_in + fan_out)) ** 0.5
    return bound * (2 * torch.rand(*shape, generator=generator) - 1)


def truncated_normal(shape: Sequence[int], std: float, generator: torch.Generator) -> Tensor:
    """An initial weight: normal values within two standard deviations."""
    return nn.init.trunc_normal_(torch.empty(*shape), std=std, a=-2 * std, b=2 * std, generator=generator)


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """inputs W^T + b: [..., I] of one task (weight [O, I]), or [M, N, I] of M tasks (weight [M, O, I])."""
    if weight.dim() == 3:  # half the time of vmap's decomposition, which also multiplies the bias by one
        return torch.baddbmm(bias[:, None], inputs, weight.mT)
    return nn.functional.linear(inputs, weight, bias)


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
