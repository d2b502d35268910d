"""Every network that supervised presets use; PAPER.md, 5.14: normalisation under second-order gradients is a trap."""

import functools

import pytest
import torch
from conftest import generator, parameters, rule_part, sgd
from oracles import loop_meta_gradient
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.nn import functional

from metarl.engine.gradients import gradients_of
from metarl.engine.maml import Learner
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.rules import InnerRule, first_order
from metarl.supervised.losses import KINDS
from metarl.supervised.models import convolutional_classifier, regressor
from metarl.supervised.networks import Network
from metarl.supervised.networks.dense import Dense
from metarl.supervised.networks.pooled import Pooled
from metarl.supervised.networks.strided import Strided
from metarl.supervised.tasks import Examples, KindName

# Before it compiles a gradient, torch would try with the compiler every vector unit that the processor says it has,
# compile headers for later, and start processes to compile in. That takes longer than the few lines of a small network.
QUICK = {"cpp.vec_isa_ok": True, "cpp_cache_precompile_headers": False, "compile_threads": 1}
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


def network(name: str, rule: InnerRule | None = None) -> tuple[Model, Learner, TaskFunctions]:
    kind: KindName = "regression" if name == "sinusoid" else "classification"
    model = PARTS[name].build(SHAPES[name], 1 if name == "sinusoid" else WAYS, kind)
    loss = KINDS[kind].loss
    learner = Learner(
        rule or sgd(0.5, 0.2),
        lambda params, batch: loss(model.apply(params, batch.inputs), batch),
        lambda params, batch: model.apply(params, batch.inputs),
    )
    return model, learner, TaskFunctions(lambda task: loss(task.outputs, task.query))


def examples(name: str, seed: int, each: int = 2) -> Examples:
    g, shape = generator(seed), SHAPES[name]
    inputs = torch.randn(TASKS, WAYS * each, *shape, generator=g, dtype=torch.float64)
    if name == "sinusoid":
        return Examples(inputs, torch.randn(TASKS, WAYS * each, 1, generator=g, dtype=torch.float64))
    return Examples(inputs, torch.arange(WAYS).repeat(each).expand(TASKS, -1))


@pytest.mark.parametrize("steps", [0, 1, 2])
@pytest.mark.parametrize("held", [False, True])
def test_meta_gradient_equals_a_loop_over_tasks(name: str, steps: int, held: bool) -> None:
    rule = sgd(0.5, 0.2)
    model, learner, functions = network(name, first_order(rule) if held else rule)
    theta, loss = parameters(model), learner.inner_loss
    support, query = [examples(name, 0)] * steps, examples(name, 1)
    expected_loss, expected = loop_meta_gradient(theta, (0.5, 0.2), loss, loss, support, query, TASKS, first_order=held)
    value, gradient = MetaObjective(theta, learner, functions, support, query).loss_and_gradient(theta)
    assert value == pytest.approx(expected_loss.item(), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 2])
def test_meta_gradient_equals_finite_differences(name: str, steps: int) -> None:
    model, learner, functions = network(name)
    theta = parameters(model)
    objective = MetaObjective(theta, learner, functions, [examples(name, 0)] * steps, examples(name, 1))
    _, gradient = objective.loss_and_gradient(theta)
    for seed in range(3):
        direction = torch.randn(ravel(theta).shape, generator=generator(seed), dtype=torch.float64)
        step = unravel(direction, theta)
        plus, minus = (objective.loss_and_gradient(add(theta, step, h))[0] for h in (1e-7, -1e-7))
        expected = ravel(gradient).dot(direction).item()
        assert (plus - minus) / 2e-7 == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_inner_steps_leave_the_shifts_alone_and_the_meta_gradient_does_not(name: str) -> None:
    model, learner, functions = network(name)
    theta = parameters(model)
    support, query = examples(name, 0), examples(name, 1)
    adapted = learner.adapt(theta, [Examples(support.inputs[0], support.targets[0])])
    _, gradient = MetaObjective(theta, learner, functions, [support], query).loss_and_gradient(theta)
    shifts = {leaf for leaf in theta if leaf.endswith(".shift")}
    assert bool(shifts) == (name != "sinusoid")
    for leaf, value in theta.items():
        assert torch.equal(adapted[leaf], value) == (leaf in shifts), leaf
        assert gradient[leaf].abs().max() > 0, leaf


def reference(params: Params, inputs: Tensor, *, pooled: bool) -> Tensor:
    """The convolutional network in torch's own layers."""
    hidden = inputs.movedim(-1, 1)
    for layer in range(4):
        hidden = functional.conv2d(hidden, params[f"body.{layer}.weight"], stride=1 if pooled else 2, padding=1)
        shift = params[f"body.{layer}.shift"]
        hidden = functional.batch_norm(hidden, None, None, torch.ones_like(shift), shift, training=True, eps=1e-3)
        hidden = torch.relu(hidden)
        hidden = functional.max_pool2d(hidden, 2) if pooled else hidden
    features = hidden.movedim(1, -1).flatten(1) if pooled else hidden.mean((2, 3))
    return features @ params["head.weight"].T + params["head.bias"]


@pytest.mark.parametrize("name", ["strided", "pooled"])
def test_convolutions_are_torchs(name: str) -> None:
    model, *_ = network(name)
    theta, inputs = parameters(model), examples(name, 0).inputs[0]
    expected = reference(theta, inputs, pooled=name == "pooled")
    torch.testing.assert_close(model.apply(theta, inputs), expected, rtol=1e-10, atol=1e-12)


def test_dense_layers_are_torchs() -> None:
    model, *_ = network("dense")
    theta, inputs = parameters(model), examples("dense", 0).inputs[0]
    hidden = inputs.flatten(1)
    for layer in range(2):
        norm = nn.BatchNorm1d(len(theta[f"body.{layer}.weight"]), eps=1e-3, track_running_stats=False).double()
        norm.bias.data = theta[f"body.{layer}.shift"]
        hidden = torch.relu(norm(hidden @ theta[f"body.{layer}.weight"].T))
    expected = hidden @ theta["head.weight"].T + theta["head.bias"]
    torch.testing.assert_close(model.apply(theta, inputs), expected.detach(), rtol=1e-10, atol=1e-12)


def test_predictions_are_transductive(name: str) -> None:
    """An image's logits depend on the batch that it comes in: where there is batch norm, and only there."""
    model, *_ = network(name)
    theta, inputs = parameters(model), examples(name, 0).inputs[0]
    same = torch.allclose(model.apply(theta, inputs)[:3], model.apply(theta, inputs[:3]))
    assert same == (name == "sinusoid")


def test_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 x 16 to be halved 4 times; got 15 x 16"):
        convolutional_classifier((15, 16, 3), 8, 5, pooled=True)
    assert convolutional_classifier((1, 1, 1), 8, 5, pooled=False).init(generator(0))["head.weight"].shape == (5, 8)


def test_published_sizes() -> None:
    """Omniglot 64 features of the mean map; MiniImagenet 5 x 5 x 32 = 800; sinusoid 1761 parameters."""
    strided = convolutional_classifier((28, 28, 1), 64, 5, pooled=False).init(generator(0))
    assert strided["head.weight"].shape == (5, 64)
    pooled = convolutional_classifier((84, 84, 3), 32, 5, pooled=True).init(generator(0))
    assert pooled["head.weight"].shape == (5, 800)
    assert len(ravel(regressor(1, (40, 40), 1).init(generator(0)))) == 1761


def test_initial_weights_are_truncated_normal() -> None:
    weight = mlp((100, 400, 1), "relu", std=0.01).init(generator(0))["body.0.weight"]
    assert weight.abs().max() <= 0.02
    assert weight.std().item() == pytest.approx(0.01 * 0.88, rel=0.02)  # what two standard deviations leave of it


@pytest.mark.parametrize("name", ["sinusoid"])
def test_compiled_gradients_are_the_same(name: str, rule_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rule as torch.compile traces it; one of them down to machine code, which takes a compiler's seconds."""
    # Of one hidden layer: torch.compile takes its time for every operation.
    monkeypatch.setitem(PARTS, name, Dense(hidden_sizes=(6,)))
    if rule_name != "sgd":
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    model, learner, functions = network(name, rule_part(rule_name).build())
    theta = learner.rule.init(parameters(model), generator(0))
    data = ((examples(name, 0),), examples(name, 1))
    with inductor.patch(QUICK):
        plain, compiled = (
            gradients_of(learner, functions.outer_loss, compiled=flag)(theta, *data) for flag in (False, True)
        )
    torch.testing.assert_close(compiled, plain, rtol=1e-9, atol=1e-12)
