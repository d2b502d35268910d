import pytest
import torch
from conftest import TASKS, Regression, generator, parameters, regression, rule_part_of, sgd
from oracles import loop_meta_gradient, task
from torch import Tensor
from torch.func import grad

from metarl import arguments
from metarl.engine.maml import AdaptedTask, Learner, Loss, OuterLoss
from metarl.engine.model import Model
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.rules import InnerRule, first_order
from metarl.engine.rules.meta_sgd import STEP_SIZE

STEP_SIZES = (0.3, 0.1)


def mean_squared_error(model: Model) -> Loss:
    def loss(params: Params, batch: Regression) -> Tensor:
        return ((model.apply(params, batch.inputs) - batch.targets) ** 2).mean()

    return loss


def built(name: str, model: Model, held: bool = False) -> InnerRule:
    rule = rule_part_of(name, model).build(STEP_SIZES)
    return first_order(rule) if held else rule


def meta_parameters(model: Model, rule: InnerRule) -> Params:
    """What the rule meta-learns is different for every parameter."""
    g = generator(5)
    return {
        name: leaf * (0.5 + torch.rand(leaf.shape, generator=g)) if name.startswith(STEP_SIZE) else leaf
        for name, leaf in rule.init(parameters(model), g).items()
    }


@pytest.fixture(params=["sgd", "meta-sgd", "anil"])
def adapting_rule_name(request: pytest.FixtureRequest) -> str:
    """Of the rules that adapt parameters of the model's own; a context's loop is in test_rules.py."""
    return request.param


def at_the_adapted(loss: Loss) -> OuterLoss:
    """The same loss of the adapted parameters on the query."""
    return lambda adapted: loss(adapted.adapted, adapted.query)


def objective(
    theta: Params, rule: InnerRule, loss: Loss, support: tuple | list, query: Regression | Tensor
) -> MetaObjective:
    return MetaObjective(theta, Learner(rule, loss), TaskFunctions(at_the_adapted(loss)), support, query)


@pytest.fixture(params=[0, 1, 2])
def support(request: pytest.FixtureRequest) -> tuple[Regression, ...]:
    return tuple(regression(seed) for seed in range(request.param))


@pytest.mark.parametrize("held", [False, True])
def test_the_meta_gradient_equals_a_loop_over_tasks(
    model: Model, adapting_rule_name: str, support: tuple[Regression, ...], held: bool
) -> None:
    rule = built(adapting_rule_name, model, held)
    adapts = rule.start(rule.init(parameters(model), generator(0)))
    theta, loss, query = meta_parameters(model, rule), mean_squared_error(model), regression(9)
    expected_loss, expected = loop_meta_gradient(
        theta, STEP_SIZES, loss, loss, support, query, TASKS, first_order=held, adapts=lambda name: name in adapts
    )
    value, gradient = objective(theta, rule, loss, support, query).loss_and_gradient(theta)
    assert value == pytest.approx(expected_loss.item(), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-13)


def test_the_meta_gradient_equals_finite_differences(
    model: Model, rule_name: str, support: tuple[Regression, ...]
) -> None:
    rule = built(rule_name, model)
    theta, loss, query = meta_parameters(model, rule), mean_squared_error(model), regression(9)
    whole = objective(theta, rule, loss, support, query)
    _, gradient = whole.loss_and_gradient(theta)
    for seed in range(5):
        direction = torch.randn(ravel(theta).shape, generator=generator(seed), dtype=torch.float64)
        plus, minus = (whole.loss_and_gradient(add(theta, unravel(direction, theta), h))[0] for h in (1e-6, -1e-6))
        expected = ravel(gradient).dot(direction).item()
        assert (plus - minus) / 2e-6 == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_quadratic_family_has_the_closed_form(steps: int) -> None:
    """L_i(x) = |x - c_i|^2 / 2: K steps of size a give theta' - c = (1 - a)^K (theta - c)."""
    centres = torch.randn(TASKS, 4, generator=generator(1), dtype=torch.float64)
    theta, alpha = {"x": torch.randn(4, generator=generator(2), dtype=torch.float64)}, 0.3

    def loss(params: Params, centre: Tensor) -> Tensor:
        return 0.5 * ((params["x"] - centre) ** 2).sum()

    shrink, distance = (1 - alpha) ** steps, theta["x"] - centres
    value, gradient = objective(theta, sgd(alpha), loss, [centres] * steps, centres).loss_and_gradient(theta)
    assert value == pytest.approx((0.5 * shrink**2 * (distance**2).sum(1).mean()).item())
    torch.testing.assert_close(gradient["x"], shrink**2 * distance.mean(0))
    held = objective(theta, first_order(sgd(alpha)), loss, [centres] * steps, centres)
    torch.testing.assert_close(held.loss_and_gradient(theta)[1]["x"], shrink * distance.mean(0))


def test_first_order_is_the_gradient_at_the_adapted_parameters(model: Model) -> None:
    theta, loss = parameters(model), mean_squared_error(model)
    support, query = [task(regression(0), 0)] * 2, task(regression(9), 0)
    expected = grad(loss)(Learner(sgd(*STEP_SIZES), loss).adapt(theta, support), query)
    held = Learner(first_order(sgd(*STEP_SIZES)), loss)
    actual = grad(lambda params: loss(held.adapt(params, support), query))(theta)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_each_task_takes_a_full_step_whatever_the_number_of_tasks(model: Model) -> None:
    """No inner step is divided by the size of the meta-batch."""
    theta, loss, support, query = parameters(model), mean_squared_error(model), regression(0), regression(9)
    together, _ = objective(theta, sgd(*STEP_SIZES), loss, [support], query).loss_and_gradient(theta)
    learner = Learner(sgd(*STEP_SIZES), loss)
    alone = [loss(learner.adapt(theta, [task(support, i)]), task(query, i)) for i in range(TASKS)]
    assert together == pytest.approx(torch.stack(alone).mean().item(), rel=1e-13)


def test_steps_one_at_a_time_equal_all_at_once(model: Model, rule_name: str) -> None:
    """Step k continues from theta'_k, whatever the rule keeps beside it, with the size of step k."""
    rule = rule_part_of(rule_name, model).build((0.3, 0.1, 0.05))
    theta = meta_parameters(model, rule)
    learner, batches = Learner(rule, mean_squared_error(model)), [regression(seed) for seed in range(4)]
    fast = learner.start_each(theta, TASKS)
    for step in range(5):
        merged = learner.merge_each(fast, theta)
        for i in range(TASKS):
            expected = learner.adapt(theta, [task(batch, i) for batch in batches[:step]])
            torch.testing.assert_close(task(merged, i), expected, rtol=1e-12, atol=1e-14)
        if step < 4:
            fast = learner.step_each(fast, theta, batches[step], step=step)
    assert not any(leaf.requires_grad for leaf in fast.values())


def test_copies_that_there_is_no_room_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Learner(sgd(0.1), mean_squared_error(model))
    theta = parameters(model)
    size = 8 * len(ravel(theta))
    monkeypatch.setattr(arguments, "memory", lambda: 10 * size)
    assert len(next(iter(learner.start_each(theta, 10).values()))) == 10
    with pytest.raises(ValueError, match=f"^11 tasks: their adapted parameters, of {size:,} bytes each, need"):
        learner.start_each(theta, 11)


def test_replayed_gradients_give_the_same_adaptation(model: Model, rule_name: str) -> None:
    rule = built(rule_name, model)
    theta, learner = meta_parameters(model, rule), Learner(rule, mean_squared_error(model))
    support = [task(regression(seed), 0) for seed in range(3)]
    gradients = learner.inner_gradients(theta, support)
    assert len(gradients) == 3
    torch.testing.assert_close(learner.replay(theta, gradients), learner.adapt(theta, support), rtol=0, atol=0)
    moved = learner.replay(add(theta, theta, 0.1), gradients)
    assert not torch.equal(ravel(moved), ravel(learner.adapt(add(theta, theta, 0.1), support)))


def test_an_outer_loss_sees_all_of_an_adapted_task_and_is_differentiated_through_it(model: Model) -> None:
    """Theta, theta', support, query and outputs, as ProMP's and E-MAML's terms need them: against a loop."""
    theta, loss, query = parameters(model), mean_squared_error(model), regression(9)
    support = [regression(0), regression(1)]

    def predict(params: Params, batch: Regression) -> Tensor:
        return model.apply(params, batch.inputs)

    def outer_loss(one: AdaptedTask) -> Tensor:
        moved = torch.stack([(one.adapted[name] - leaf).square().sum() for name, leaf in one.theta.items()]).sum()
        surprise = (predict(one.theta, one.support[1]) - one.support[1].targets).abs().mean()
        return (one.outputs - one.query.targets).square().mean() + 0.3 * moved + 0.7 * surprise

    learner = Learner(sgd(*STEP_SIZES), loss, predict)
    value, gradient = MetaObjective(theta, learner, TaskFunctions(outer_loss), support, query).loss_and_gradient(theta)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    total = torch.zeros((), dtype=torch.float64)
    for i in range(TASKS):
        adapted = dict(leaves)
        for alpha, batch in zip(STEP_SIZES, support, strict=True):
            steps = torch.autograd.grad(loss(adapted, task(batch, i)), list(adapted.values()), create_graph=True)
            adapted = {name: leaf - alpha * s for (name, leaf), s in zip(adapted.items(), steps, strict=True)}
        total = total + loss(adapted, task(query, i))
        total = total + 0.3 * (ravel(adapted) - ravel(leaves)).square().sum()
        first = task(support[1], i)
        total = total + 0.7 * (model.apply(leaves, first.inputs) - first.targets).abs().mean()
    expected = torch.autograd.grad(total / TASKS, list(leaves.values()))
    assert value == pytest.approx(total.item() / TASKS, rel=1e-12)
    for (name, leaf), other in zip(gradient.items(), expected, strict=True):
        torch.testing.assert_close(leaf, other, rtol=1e-9, atol=1e-12, msg=name)
