"""Any `torch.nn.Module` as a model."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from metarl.engine.maml import Learner
from metarl.engine.model import Model
from metarl.engine.params import Params, detach, stack
from metarl.engine.rules import InnerRule
from metarl.user_code import raised_at_the_call

AT_ONCE = (
    ", for several tasks at once by torch.func's vmap and grad: no branch may depend on values, nothing may be taken "
    "out by item, and no buffer changed"
)


def from_module(module: nn.Module) -> Model:
    """Any `torch.nn.Module` as a Model whose initial parameters are the module's present ones.

    The module is copied, with its mode (train or eval) and device. Buffers, and parameters that do not require a
    gradient, are constants of the model: neither adapted nor meta-learned. Under vmap such a model is about a fifth
    slower than one that is written as a function.

    Raises:
        ValueError: no parameter requires a gradient, or torch cannot differentiate a layer twice for many tasks at
            once. The message has the layer's name in the module and says what to do instead.
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
        # A rule may have added other parameters.
        chosen = {name: params[name] for name in initial}
        # The fused kernels of attention have no second derivative.
        with sdpa_kernel(SDPBackend.MATH):
            return functional_call(own, chosen, (inputs,))

    return Model(init, apply)


def _refusal(layer: nn.Module) -> str | None:
    """Why a layer cannot be part of an inner loop in torch 2.13, and what to do instead; None if it can.

    `test_module.py` tries every case: the gradient through an inner gradient under vmap, against a loop over tasks.
    """
    if getattr(layer, "track_running_stats", False):
        return "keeps running statistics: build it with track_running_stats=False"
    if isinstance(layer, torch.jit.ScriptModule):
        return "is compiled by torch.jit: take the module that it was made of"
    if any(isinstance(hook, WeightNorm) for hook in layer._forward_pre_hooks.values()):
        return "has torch's older weight norm, which cannot be copied: take torch.nn.utils.parametrizations.weight_norm"
    if isinstance(layer, nn.RReLU):
        return "draws random numbers that vmap cannot batch: take nn.LeakyReLU"
    # The probability is called `p` in the Dropout layers, `dropout` in nn.MultiheadAttention and nn.LSTM.
    rate = layer.p if isinstance(layer, nn.modules.dropout._DropoutNd) else getattr(layer, "dropout", 0.0)
    if layer.training and isinstance(rate, float) and rate > 0:
        return "drops out at random, unlike in every inner step: build it with dropout 0, or call eval() on the module"
    # nn.LSTM would work, but only in float32 and on processors for which torch has another kernel.
    if isinstance(layer, nn.RNNBase | nn.RNNCellBase):
        return "has a kernel that vmap cannot batch: write the recurrence with nn.Linear"
    if layer.training and _normalises_by_power_iteration(layer):
        return "has a spectral norm that changes its buffers in training: call eval() on the module"
    return None


def _normalises_by_power_iteration(layer: nn.Module) -> bool:
    """Whether a layer has a spectral norm: as a parametrisation, or as the hook of torch's older function."""
    hooks = layer._forward_pre_hooks.values()
    return isinstance(layer, _SpectralNorm) or any(isinstance(hook, SpectralNorm) for hook in hooks)


def keyed(make: Callable[[], nn.Module], takes: str, example: Tensor, outputs: tuple[int, ...]) -> Model:
    """A model whose `init` calls `make` for a fresh module, which draws its initial weights from init's generator.

    Modules draw from torch's global generator: its state is replaced for the call, and restored afterwards.

    Args:
        make: makes the module. Layers that are lazy are made by the example.
        takes: what the module's constructor is called with, in words.
        example: inputs.
        outputs: shape of the outputs that the module must make of the example.

    Raises:
        ValueError: see `from_module`; the constructor takes something else; initial parameters that torch's generator
            does not decide; outputs that have another shape, are others for the same inputs, or that none of the
            parameters has an effect on that torch can differentiate.
    """

    def made(generator: torch.Generator) -> Model:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(generator.get_state())
            try:
                module = make()
            except TypeError as error:
                if raised_at_the_call(error, __file__):
                    raise ValueError(f"a module of one's own is made with {takes}: {error}") from error
                raise
            if any(isinstance(layer, LazyModuleMixin) for layer in module.modules()):
                with torch.no_grad(), _called_with(example):
                    module(example)
            return from_module(module)

    def init(generator: torch.Generator) -> Params:
        return made(generator).init(generator)

    model = made(torch.Generator())
    with torch.random.fork_rng(devices=[]):
        _require_outputs(model, example, outputs)
        _require_repeatable(model, made(torch.Generator()), example)
    return model._replace(init=init)


def _require_outputs(model: Model, example: Tensor, outputs: tuple[int, ...]) -> None:
    """Raise ValueError unless a model makes outputs of this shape of an example, by its parameters alone."""
    theta = {name: leaf.requires_grad_() for name, leaf in model.init(torch.Generator()).items()}
    if strange := [name for name, leaf in theta.items() if not leaf.isfinite().all()]:
        raise ValueError(f"a module of one's own must begin with finite parameters; {strange[0]} is not")
    inputs = _inputs_like(example)
    with _called_with(inputs):
        made = model.apply(theta, inputs)
    shape = tuple(made.shape) if isinstance(made, Tensor) else None
    if shape != outputs:
        got = type(made).__name__ if shape is None else list(shape)
        raise ValueError(
            f"a module of one's own must make a tensor {list(outputs)} of inputs {list(example.shape)}; got {got}"
        )
    if not made.requires_grad:
        raise ValueError(
            "the outputs of a module of one's own must depend on its parameters: nothing can be learned through "
            "detach, no_grad or item"
        )
    if not _equal(made, model.apply(theta, inputs)):
        raise ValueError(
            "a module of one's own must make the same outputs of the same inputs, or gradients and likelihood ratios "
            "are of another model than the one that acted: leave out what is random in it, or changes with each call"
        )
    draws = torch.Generator().manual_seed(1)
    moved = {name: leaf + 1e-3 * torch.randn(leaf.shape, generator=draws).to(leaf) for name, leaf in theta.items()}
    if torch.equal(made, model.apply(moved, inputs)):
        raise ValueError(
            "the outputs of a module of one's own must change with small changes of its parameters: nothing can be "
            "learned through sign, argmax, round or comparisons"
        )
    with _called_with(inputs, AT_ONCE):
        _differentiate_for_tasks(model, theta, inputs)


@contextmanager
def _called_with(inputs: Tensor, further: str = "") -> Iterator[None]:
    """Add to errors of a module of one's own, which keep their traceback, what it was called with."""
    try:
        yield
    except Exception as error:  # a user's module may raise anything; it is raised again, with a note
        shape = f"{inputs.dtype} {list(inputs.shape)}, one example a row, images with their channels last"
        error.add_note(f"metarl called it with inputs {shape}{further}")
        raise


def _differentiate_for_tasks(model: Model, theta: Params, inputs: Tensor) -> None:
    """Take the gradient of a model of two tasks at once, as a training does."""
    rule = InnerRule(lambda meta, _: meta, lambda meta: meta, lambda fast, gradient, *_: gradient, lambda fast, _: fast)
    learner = Learner(rule, lambda params, batch: model.apply(params, batch).square().mean())
    meta = detach(theta)
    learner.step_each(stack(meta, 2), meta, inputs.expand(2, *inputs.shape), step=0)


def _require_repeatable(model: Model, again: Model, example: Tensor) -> None:
    """Raise ValueError where two models of one's own, made with equal generators, differ."""
    theta = model.init(torch.Generator())
    for name, leaf in again.init(torch.Generator()).items():
        if not torch.equal(leaf, theta[name]):
            raise ValueError(
                f"a module of one's own must draw its initial parameters by torch, whose seed is the run's; {name} is "
                "another in every module that is made"
            )
    inputs = _inputs_like(example)
    if not _equal(model.apply(theta, inputs), again.apply(theta, inputs)):
        raise ValueError(
            "a module of one's own must have the same constants (buffers, and parameters without a gradient) wherever "
            "it is made, because no checkpoint has them: draw them by torch, or read them from a file"
        )


def _equal(outputs: Tensor, others: Tensor) -> bool:
    """Whether two outputs are equal; nan, which a module may make of inputs outside its domain, is equal to nan."""
    return torch.allclose(outputs, others, rtol=0, atol=0, equal_nan=True)


def _inputs_like(example: Tensor) -> Tensor:
    """Random inputs of an example's shape: zeros would have no gradient in the weights of a first layer."""
    return torch.rand(example.shape, generator=torch.Generator().manual_seed(0)).to(example)


SCALING: dict[type[nn.Module], Callable[[Tensor], int]] = {  # inputs -> how many axes follow those of the weight
    nn.LayerNorm: lambda inputs: 0,
    nn.modules.batchnorm._BatchNorm: lambda inputs: inputs.dim() - 2,  # [N, C, ...]
    nn.InstanceNorm1d: lambda inputs: 1,  # these also take inputs [C, ...]
    nn.InstanceNorm2d: lambda inputs: 2,
    nn.InstanceNorm3d: lambda inputs: 3,
}


def _scale_apart(module: nn.Module) -> None:
    """Make torch's normalisation layers in a module normalise first, then apply weight and bias in operations apart.

    In one operation torch 2.13 differentiates them wrongly outside vmap: see `curvature.gauss_newton`.
    """
    for layer in module.modules():
        for kind, trailing_axes in SCALING.items():
            # A subclass with a forward of its own may do anything: it stays as it is.
            plain = isinstance(layer, kind) and type(layer).forward is kind.forward
            if plain and layer.weight is not None:
                layer.forward = _scaling_apart(layer, kind, trailing_axes)


def _scaling_apart(
    layer: nn.Module, kind: type[nn.Module], trailing_axes: Callable[[Tensor], int]
) -> Callable[[Tensor], Tensor]:
    bare = copy.copy(layer)
    bare._parameters = dict.fromkeys(layer._parameters)

    def forward(inputs: Tensor) -> Tensor:
        outputs = kind.forward(bare, inputs)
        ones = (1,) * trailing_axes(inputs)
        # Read at every call, because functional_call puts the parameters of the call there.
        weight = layer._parameters["weight"]
        bias = layer._parameters["bias"]
        assert weight is not None
        outputs = outputs * weight.reshape(*weight.shape, *ones)
        return outputs if bias is None else outputs + bias.reshape(*bias.shape, *ones)

    return forward
