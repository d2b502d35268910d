"""Models as pure functions: parameters are an argument, so that a task can have its own."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import vmap

from metarl.engine.params import Params

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "tanh": torch.tanh}


class Model(NamedTuple):
    """A model as two pure functions, and a faster one for many tasks where the model has it."""

    init: Callable[[torch.Generator], Params]  # -> fresh parameters
    apply: Callable[[Params, Tensor], Any]  # parameters of one task, inputs -> outputs
    stacked: Callable[[Params, Tensor], Any] | None = None  # does what `apply_stacked` does, faster than vmap

    def apply_stacked(self, params: Params, inputs: Tensor) -> Any:
        """Outputs of M tasks at once: stacked parameters (leaves [M, ...]), inputs [M, N, I] -> outputs [M, N, ...]."""
        # `stacked` exists because a sampler calls this at every timestep.
        return (self.stacked or vmap(self.apply))(params, inputs)


def mlp(sizes: Sequence[int], activation: str, *, std: float | None = None, head_scale: float = 1.0) -> Model:
    """A fully connected network: inputs [..., sizes[0]] -> outputs [..., sizes[-1]]; the last layer is linear.

    Its parameters are `body.0.weight`, `body.0.bias`, `body.1.weight` and so on, `head.weight` and `head.bias`.

    Args:
        sizes: units of every layer, inputs first.
        activation: a key of ACTIVATIONS.
        std: weights start truncated normal with this standard deviation (the authors' networks for regression);
            None: Xavier-uniform (their policies). Biases start at zero.
        head_scale: what the initial weights of the last layer are multiplied by. With a small one, all outputs start
            near zero.

    Raises:
        ValueError: a size below 1, or an unknown activation.
    """
    if min(sizes) < 1:
        raise ValueError(f"layer sizes must be at least 1; got {list(sizes)}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}: choose one of {', '.join(ACTIVATIONS)}")
    nonlinearity = ACTIVATIONS[activation]
    layers = [*(f"body.{layer}" for layer in range(len(sizes) - 2)), "head"]

    def init(generator: torch.Generator) -> Params:
        params: Params = {}
        for layer, (fan_in, fan_out) in zip(layers, itertools.pairwise(sizes), strict=True):
            shape = (fan_out, fan_in)
            params[f"{layer}.weight"] = (
                xavier_uniform(shape, generator) if std is None else truncated_normal(shape, std, generator)
            )
            params[f"{layer}.bias"] = torch.zeros(fan_out)
        params["head.weight"] *= head_scale
        return params

    def forward(params: Params, inputs: Tensor, affine: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        hidden = inputs
        for layer in layers:
            hidden = affine(hidden, params[f"{layer}.weight"], params[f"{layer}.bias"])
            if layer != "head":
                hidden = nonlinearity(hidden)
        return hidden

    def apply(params: Params, inputs: Tensor) -> Tensor:
        return forward(params, inputs, nn.functional.linear)

    def stacked(params: Params, inputs: Tensor) -> Tensor:
        return forward(params, inputs, _linear_of_each)

    return Model(init, apply, stacked)


def xavier_uniform(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """An initial weight [fan_out, fan_in, ...]; axes that follow (of a convolution's kernel) multiply both fans."""
    kernel = math.prod(shape[2:])
    fan_out = shape[0] * kernel
    fan_in = shape[1] * kernel
    bound = (6 / (fan_in + fan_out)) ** 0.5
    return bound * (2 * torch.rand(*shape, generator=generator) - 1)


def truncated_normal(shape: Sequence[int], std: float, generator: torch.Generator) -> Tensor:
    """An initial weight: normal values within two standard deviations."""
    return nn.init.trunc_normal_(torch.empty(*shape), std=std, a=-2 * std, b=2 * std, generator=generator)


def _linear_of_each(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """inputs W^T + b of M tasks: [M, N, I], [M, O, I], [M, O] -> [M, N, O]."""
    # One fused operation takes half the time of what vmap makes of `linear`.
    return torch.baddbmm(bias[:, None], inputs, weight.mT)
