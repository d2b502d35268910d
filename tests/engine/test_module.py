"""Modules of torch as models: what works in an inner loop, what is refused, and that torch really cannot do that."""

from collections.abc import Callable

import pytest
import torch
from conftest import generator, sgd
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrizations

from metarl.engine.maml import Learner
from metarl.engine.module import from_module
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, ravel


def test_any_module_is_a_model_and_is_left_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))
    model = from_module(module)
    params = model.init(generator(0))
    inputs = torch.randn(7, 3, generator=generator(1))
    torch.testing.assert_close(model.apply(params, inputs), module(inputs))
    doubled = {name: 2 * leaf for name, leaf in params.items()}
    assert not torch.equal(model.apply(doubled, inputs), module(inputs))
    assert all(torch.equal(leaf, params[name]) for name, leaf in module.named_parameters())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LayerNorm([4, 5]), (3, 4, 5)),
        (nn.LayerNorm(4, bias=False), (3, 4)),
        (nn.BatchNorm1d(4, track_running_stats=False), (3, 4)),
        (nn.BatchNorm2d(4, track_running_stats=False), (3, 4, 5, 6)),
        (nn.InstanceNorm1d(4, affine=True), (4, 7)),
        (nn.InstanceNorm2d(4, affine=True), (3, 4, 5, 6)),
        (nn.InstanceNorm3d(4, affine=True), (3, 4, 5, 6, 7)),
    ],
)
def test_normalisation_layers_scale_as_they_do_in_one_step(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model = from_module(nn.Sequential(layer))
    params = {
        name: leaf + torch.randn(leaf.shape, generator=generator(2)) for name, leaf in model.init(generator(0)).items()
    }
    inputs = torch.randn(shape, generator=generator(1))
    expected = functional_call(nn.Sequential(layer), params, (inputs,))
    torch.testing.assert_close(model.apply(params, inputs), expected)


class OwnScale(nn.LayerNorm):
    """Scales its first axis, and asks the layer itself for its weight."""

    def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        return inputs[0] * self.weight[:, None]


class Sharing(nn.Module):
    """One normalisation layer in two places, a hook on it, a subclass of another that does as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.one = self.other = nn.LayerNorm(4)
        self.one.register_forward_hook(lambda module, inputs, output: 2 * output + module.eps)
        self.own = OwnScale(3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.own(self.other(inputs) + self.one(inputs) ** 2)


def test_normalisation_layers_stay_what_they_are_otherwise() -> None:
    module = Sharing()
    model = from_module(module)
    initial = model.init(generator(0))
    params = {name: leaf + torch.linspace(0, 1, leaf.numel()).reshape(leaf.shape) for name, leaf in initial.items()}
    inputs = torch.randn(3, 4, generator=generator(1))
    torch.testing.assert_close(model.apply(params, inputs), functional_call(module, params, (inputs,)))


class Attention(nn.Module):
    """Self-attention by the fused kernel, or not."""

    def __init__(self, *, weights: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.weights, self.attention = weights, nn.MultiheadAttention(4, 2, dropout, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.attention(inputs, inputs, inputs, need_weights=self.weights)[0]


class Last(nn.Module):
    """A recurrent layer's outputs, without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.layer(inputs)
        return outputs[0] if isinstance(outputs, tuple) else outputs


def meta_gradients(apply: Callable[[Params, Tensor], Tensor], theta: Params, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Of the mean over tasks [M, ...]: the engine's, and that of a loop with double backward."""

    def loss(params: Params, batch: Tensor) -> Tensor:
        return apply(params, batch).square().mean()

    functions = TaskFunctions(lambda task: loss(task.adapted, task.query))
    objective = MetaObjective(theta, Learner(sgd(0.5), loss), functions, [inputs], inputs)
    leaves, total = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}, torch.zeros(())
    for own in inputs:
        steps = torch.autograd.grad(loss(leaves, own), list(leaves.values()), create_graph=True)
        adapted = {name: leaf - 0.5 * step for (name, leaf), step in zip(leaves.items(), steps, strict=True)}
        total = total + loss(adapted, own)
    expected = torch.autograd.grad(total / len(inputs), list(leaves.values()))
    return ravel(objective.loss_and_gradient(theta)[1]), torch.cat([leaf.flatten() for leaf in expected])


WORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "attention": (lambda: Attention(weights=True), (3, 6, 4)),
    "fused attention": (Attention, (3, 6, 4)),
    "transformer": (lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), (3, 6, 4)),
    "transformer, eval": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).eval(), (3, 6, 4)),
    "dropout, eval": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).eval(), (5, 4)),
    "dropout of nothing": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.0)), (5, 4)),
    "spectral norm, eval": (lambda: parametrizations.spectral_norm(nn.Linear(4, 3)).eval(), (5, 4)),
    "group norm": (lambda: nn.Sequential(nn.Linear(4, 6), nn.GroupNorm(2, 6), nn.Tanh()), (5, 4)),
    "rms norm": (lambda: nn.Sequential(nn.Linear(4, 4), nn.RMSNorm(4), nn.Tanh()), (5, 4)),
    "convolution": (lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2), nn.Flatten()), (5, 2, 6, 6)),
}


@pytest.mark.parametrize("name", WORKS)
def test_layers_that_work_have_the_meta_gradient_of_a_loop(name: str) -> None:
    torch.manual_seed(0)
    make, shape = WORKS[name]
    model = from_module(make().double())
    inputs = torch.randn(3, *shape, generator=generator(1), dtype=torch.float64)
    actual, expected = meta_gradients(model.apply, model.init(generator(0)), inputs)
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-11)


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "batch norm": (
        lambda: nn.BatchNorm1d(4),
        (5, 4),
        "'1' .BatchNorm1d. keeps running statistics: build it with",
    ),
    "dropout": (
        lambda: nn.Dropout(0.5),
        (5, 4),
        "'1' .Dropout. drops out at random, .*: build it with dropout 0",
    ),
    "alpha dropout": (lambda: nn.AlphaDropout(0.5), (5, 4), "'1' .AlphaDropout. drops out at random"),
    "attention": (lambda: Attention(dropout=0.1), (5, 6, 4), "'1.attention' .MultiheadAttention. drops out at random"),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        (5, 6, 4),
        "drops out at random",
    ),
    "rrelu": (nn.RReLU, (5, 4), "'1' .RReLU. draws random numbers that vmap cannot batch: take nn.LeakyReLU"),
    "lstm": (lambda: Last(nn.LSTM(4, 3, batch_first=True)), (5, 6, 4), "'1.layer' .LSTM. has a kernel"),
    "gru": (
        lambda: Last(nn.GRU(4, 3, batch_first=True)),
        (5, 6, 4),
        "'1.layer' .GRU. has a kernel that vmap",
    ),
    "rnn": (lambda: Last(nn.RNN(4, 3, batch_first=True)), (5, 6, 4), "'1.layer' .RNN. has a kernel"),
    "lstm cell": (lambda: Last(nn.LSTMCell(4, 3)), (5, 4), "'1.layer' .LSTMCell. has a kernel"),
    "gru cell": (lambda: Last(nn.GRUCell(4, 3)), (5, 4), "'1.layer' .GRUCell. has a kernel"),
    "rnn cell": (lambda: Last(nn.RNNCell(4, 3)), (5, 4), "'1.layer' .RNNCell. has a kernel"),
    "spectral norm": (
        lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
        (5, 4),
        "spectral norm .*: call eval.. on the module",
    ),
    "older spectral norm": (
        lambda: nn.utils.spectral_norm(nn.Linear(4, 3)),
        (5, 4),
        "'1' .Linear. has a spectral norm",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_cannot_work_are_refused_by_name(name: str) -> None:
    """And torch really cannot do it: whoever updates it learns here what need not be refused any longer."""
    torch.manual_seed(0)
    make, shape, words = REFUSED[name]
    module = nn.Sequential(nn.Linear(4, 4), make()).double()
    with pytest.raises(ValueError, match=f"layer {words}" if words.startswith("'") else words):
        from_module(module)
    theta = {leaf: value.detach() for leaf, value in module.named_parameters()}
    inputs = torch.randn(3, *shape, generator=generator(1), dtype=torch.float64)
    with pytest.raises(RuntimeError):
        meta_gradients(lambda params, batch: functional_call(module, params, (batch,)), theta, inputs)


def test_frozen_parameters_stay_frozen() -> None:
    torch.manual_seed(0)
    first = nn.Linear(3, 4).requires_grad_(False)
    module = nn.Sequential(first, nn.Tanh(), nn.Linear(4, 2))
    model, inputs = from_module(module), torch.randn(5, 3, generator=generator(1))
    theta = model.init(generator(0))
    assert list(theta) == ["2.weight", "2.bias"]
    torch.testing.assert_close(model.apply(theta, inputs), module(inputs))
    changed = model.apply({name: torch.zeros_like(leaf) for name, leaf in theta.items()}, inputs)
    assert torch.equal(changed, torch.zeros(5, 2))
    # constants of the model, even when the module that they came from is trained on
    expected = module(inputs).detach()
    first.weight.data.zero_()
    torch.testing.assert_close(model.apply(theta, inputs), expected)


def test_a_module_without_anything_to_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="Tanh has no parameter that requires a gradient"):
        from_module(nn.Tanh())
