"""Any `torch.nn.Module` as a model."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from metarl.engine.model import Model
from metarl.engine.params import Params


def from_module(module: nn.Module) -> Model:
    """Any `torch.nn.Module` as a Model: its present parameters are the initial ones, its buffers stay as they are.

    The module is copied, with its mode (train or eval) and device. Parameters that do not require a gradient stay as
    they are too: they are constants of the model, neither adapted nor meta-learned. It is about a fifth slower under
    vmap than a model written as a function.

    Raises:
        ValueError: no parameter that requires a gradient, or a layer that torch cannot differentiate twice for many
            tasks at once, by its name in the module, with what to do instead.
    """
    for name, layer in module.named_modules():
        if reason := _refusal(layer):
            raise ValueError(f"layer {name!r} ({type(layer).__name__}) {reason}")
    initial = {name: leaf.detach().clone() for name, leaf in module.named_parameters() if leaf.requires_grad}
    if not initial:
        raise ValueError(f"{type(module).__name__} has no parameter that requires a gradient: nothing can be learned")
    own = copy.deepcopy(module).requires_grad_(False)
    _scale_apart(own)

    def init(generator: torch.Generator) -> Params:
        return {name: leaf.clone() for name, leaf in initial.items()}

    def apply(params: Params, inputs: Tensor) -> Any:
        # a rule may have added other parameters
        chosen = {name: params[name] for name in initial}
        # the fused kernels of attention have no second derivative
        with sdpa_kernel(SDPBackend.MATH):
            return functional_call(own, chosen, (inputs,))

    return Model(init, apply)


def _refusal(layer: nn.Module) -> str | None:
    """Why torch 2.13 cannot have a layer in an inner loop, and what to do instead; None if it can.

    Each was tried: the gradient through an inner gradient, under vmap, against a loop over tasks (`test_module.py`).
    """
    if getattr(layer, "track_running_stats", False):
        return "keeps running statistics: build it with track_running_stats=False"
    if isinstance(layer, nn.RReLU):
        return "draws random numbers that vmap cannot batch: take nn.LeakyReLU"
    # p: that of Dropout; dropout: that of nn.MultiheadAttention and of nn.LSTM, a probability there
    rate = layer.p if isinstance(layer, nn.modules.dropout._DropoutNd) else getattr(layer, "dropout", 0.0)
    if layer.training and isinstance(rate, float) and rate > 0:
        return "drops out at random, unlike in every inner step: build it with dropout 0, or call eval() on the module"
    # nn.LSTM works in float32, on processors for which torch has another kernel
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return "has a kernel that vmap cannot batch: write the recurrence with nn.Linear"
    if layer.training and _normalises_by_power_iteration(layer):
        return "has a spectral norm that changes its buffers in training: call eval() on the module"
    return None


def _normalises_by_power_iteration(layer: nn.Module) -> bool:
    """Whether a layer has a spectral norm: as a parametrisation, or as the hook of torch's older function."""
    hooks = layer._forward_pre_hooks.values()
    return isinstance(layer, _SpectralNorm) or any(isinstance(hook, SpectralNorm) for hook in hooks)


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

    In one step, torch 2.13 differentiates them wrongly outside vmap: see `curvature.gauss_newton`.
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
        outputs = kind.forward(bare, inputs)
        ones = (1,) * trailing_axes(inputs)
        weight, bias = layer._parameters["weight"], layer._parameters["bias"]  # of this call: functional_call's
        assert weight is not None
        outputs = outputs * weight.reshape(*weight.shape, *ones)
        return outputs if bias is None else outputs + bias.reshape(*bias.shape, *ones)

    return forward
