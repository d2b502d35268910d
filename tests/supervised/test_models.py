"""Every network that supervised presets use; PAPER.md, 5.14: normalisation under second-order gradients is a trap."""

import pytest
import torch
from conftest import generator, parameters
from metarl.engine.inner import SLOW, sgd
from oracles import loop_meta_gradient
from torch import Tensor, nn
from torch.nn import functional

from metarl.engine.maml import Loss, adapt, meta_gradient, meta_loss
from metarl.engine.model import Model, mlp
from metarl.engine.objective import TaskFunctions, gradients_of
from metarl.engine.params import Params, add, ravel, unravel
from metarl.supervised.losses import KINDS
from metarl.supervised.models import convolutional_classifier, regressor
from metarl.supervised.networks import Network
from metarl.supervised.networks.dense import Dense
from metarl.supervised.networks.pooled import Pooled
from metarl.supervised.networks.strided import Strided
from metarl.supervised.tasks import Examples, KindName

TASKS, WAYS = 3, 3
PARTS: dict[str, Network] = {
    "sinusoid": Dense(hidden_sizes=(6, 6)),
    "dense": Dense(hidden_sizes=(6, 5)),
    "strided": Strided(filters=3),
    "pooled": Pooled(filters=3),
}
SHAPES = {"sinusoid": (1,), "dense": (4, 4, 1), "strided": (9, 8, 1), "pooled": (16, 17, 2)}  # of an input


@pytest.fixture(params=list(PARTS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def network(name: str) -> tuple[Model, TaskFunctions]:
    kind: KindName = "regression" if name == "sinusoid" else "classification"
    model = PARTS[name].build(SHAPES[name], 1 if name == "sinusoid" else WAYS, kind)
    loss = KINDS[kind].loss
    functions = TaskFunctions(
        inner_loss=lambda params, batch: loss(model.apply(params, batch.inputs), batch),
        predict=lambda params, batch: model.apply(params, batch.inputs),
        outer_loss=loss,
    )
    return model, functions


def examples(name: str, seed: int, each: int = 2) -> Examples:
    g, shape = generator(seed), SHAPES[name]
    inputs = torch.randn(TASKS, WAYS * each, *shape, generator=g, dtype=torch.float64)
    if name == "sinusoid":
        return Examples(inputs, torch.randn(TASKS, WAYS * each, 1, generator=g, dtype=torch.float64))
    return Examples(inputs, torch.arange(WAYS).repeat(each).expand(TASKS, -1))


def loss_of(functions: TaskFunctions) -> Loss:
    return functions.inner_loss


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_equals_a_loop_over_tasks(name: str, steps: int, first_order: bool) -> None:
    model, functions = network(name)
    theta, loss = parameters(model), loss_of(functions)
    support, query = [examples(name, 0)] * steps, examples(name, 1)
    expected_loss, expected = loop_meta_gradient(
        theta, (0.5, 0.2), loss, loss, support, query, TASKS, first_order=first_order
    )
    gradient, value = meta_gradient(theta, sgd((0.5, 0.2)), loss, loss, support, query, first_order=first_order)
    torch.testing.assert_close(value, expected_loss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_meta_gradient_equals_finite_differences(name: str, steps: int) -> None:
    model, functions = network(name)
    theta, loss, rule = parameters(model), loss_of(functions), sgd((0.5, 0.2))
    support, query = [examples(name, 0)] * steps, examples(name, 1)
    gradient, _ = meta_gradient(theta, rule, loss, loss, support, query)
    for seed in range(3):
        direction = torch.randn(ravel(theta).shape, generator=generator(seed), dtype=torch.float64)
        step = unravel(direction, theta)
        plus, minus = (meta_loss(add(theta, step, h), rule, loss, loss, support, query) for h in (1e-7, -1e-7))
        torch.testing.assert_close((plus - minus) / 2e-7, ravel(gradient).dot(direction), rtol=1e-5, atol=1e-6)


def test_inner_steps_leave_the_shifts_alone_and_the_meta_gradient_does_not(name: str) -> None:
    model, functions = network(name)
    theta, loss = parameters(model), loss_of(functions)
    support, query = examples(name, 0), examples(name, 1)
    adapted = adapt(theta, sgd([0.5]), loss, [Examples(support.inputs[0], support.targets[0])])
    gradient, _ = meta_gradient(theta, sgd([0.5]), loss, loss, [support], query)
    shifts = {leaf for leaf in theta if leaf.startswith(SLOW)}
    assert bool(shifts) == (name != "sinusoid")
    for leaf, value in theta.items():
        assert torch.equal(adapted[leaf], value) == (leaf in shifts), leaf
        assert gradient[leaf].abs().max() > 0, leaf


def reference(params: Params, inputs: Tensor, *, pooled: bool) -> Tensor:
    """The convolutional network in torch's own layers."""
    hidden = inputs.movedim(-1, 1)
    for layer in range(4):
        hidden = functional.conv2d(hidden, params[f"weight{layer}"], stride=1 if pooled else 2, padding=1)
        shift = params[f"{SLOW}shift{layer}"]
        hidden = functional.batch_norm(hidden, None, None, torch.ones_like(shift), shift, training=True, eps=1e-3)
        hidden = torch.relu(hidden)
        hidden = functional.max_pool2d(hidden, 2) if pooled else hidden
    features = hidden.movedim(1, -1).flatten(1) if pooled else hidden.mean((2, 3))
    return features @ params["weight"].T + params["bias"]


@pytest.mark.parametrize("name", ["strided", "pooled"])
def test_convolutions_are_torchs(name: str) -> None:
    model, _ = network(name)
    theta, inputs = parameters(model), examples(name, 0).inputs[0]
    expected = reference(theta, inputs, pooled=name == "pooled")
    torch.testing.assert_close(model.apply(theta, inputs), expected, rtol=1e-10, atol=1e-12)


def test_dense_layers_are_torchs() -> None:
    model, _ = network("dense")
    theta, inputs = parameters(model), examples("dense", 0).inputs[0]
    hidden = inputs.flatten(1)
    for layer in range(2):
        norm = nn.BatchNorm1d(len(theta[f"weight{layer}"]), eps=1e-3, track_running_stats=False).double()
        norm.bias.data = theta[f"{SLOW}shift{layer}"]
        hidden = torch.relu(norm(hidden @ theta[f"weight{layer}"].T))
    expected = hidden @ theta["weight"].T + theta["bias"]
    torch.testing.assert_close(model.apply(theta, inputs), expected.detach(), rtol=1e-10, atol=1e-12)


def test_predictions_are_transductive(name: str) -> None:
    """An image's logits depend on the batch that it comes in: where there is batch norm, and only there."""
    model, _ = network(name)
    theta, inputs = parameters(model), examples(name, 0).inputs[0]
    same = torch.allclose(model.apply(theta, inputs)[:3], model.apply(theta, inputs[:3]))
    assert same == (name == "sinusoid")


def test_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 x 16 to be halved 4 times; got 15 x 16"):
        convolutional_classifier((15, 16, 3), 8, 5, pooled=True)
    assert convolutional_classifier((1, 1, 1), 8, 5, pooled=False).init(generator(0))["weight"].shape == (5, 8)


def test_published_sizes() -> None:
    """Omniglot 64 features of the mean map; MiniImagenet 5 x 5 x 32 = 800; sinusoid 1761 parameters."""
    strided = convolutional_classifier((28, 28, 1), 64, 5, pooled=False).init(generator(0))
    assert strided["weight"].shape == (5, 64)
    pooled = convolutional_classifier((84, 84, 3), 32, 5, pooled=True).init(generator(0))
    assert pooled["weight"].shape == (5, 800)
    assert len(ravel(regressor(1, (40, 40), 1).init(generator(0)))) == 1761


def test_initial_weights_are_truncated_normal() -> None:
    weight = mlp((100, 400, 1), "relu", std=0.01).init(generator(0))["weight0"]
    assert weight.abs().max() <= 0.02
    assert weight.std().item() == pytest.approx(0.01 * 0.88, rel=0.02)  # what two standard deviations leave of it


@pytest.mark.parametrize("name", ["sinusoid"])
def test_compiled_gradients_are_the_same(name: str) -> None:
    model, functions = network(name)
    theta, data = parameters(model), ((examples(name, 0),), examples(name, 1))
    plain, compiled = (gradients_of(sgd([0.5]), functions, compiled=flag)(theta, *data) for flag in (False, True))
    torch.testing.assert_close(compiled, plain, rtol=1e-9, atol=1e-12)
