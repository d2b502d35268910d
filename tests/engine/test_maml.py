import pytest
import torch
from conftest import TASKS, Regression, generator, parameters, regression
from metarl.engine.inner import RULES, SLOW, STEP_SIZE, InnerRule, meta_sgd, sgd
from oracles import loop_meta_gradient, task
from torch import Tensor
from torch.func import grad

from metarl.engine.maml import Loss, adapt, meta_gradient, meta_loss, task_loss
from metarl.engine.model import Model
from metarl.engine.params import Params, add, ravel, unravel

STEP_SIZES = (0.3, 0.1)
STEP = f"{STEP_SIZE}x"


def mean_squared_error(model: Model) -> Loss:
    def loss(params: Params, batch: Regression) -> Tensor:
        return ((model.apply(params, batch.inputs) - batch.targets) ** 2).mean()

    return loss


def meta_parameters(model: Model, rule: InnerRule) -> Params:
    """What the rule meta-learns is different for every parameter."""
    theta, g = rule.init(parameters(model)), generator(5)
    return {
        name: leaf * (0.5 + torch.rand(leaf.shape, generator=g)) if name.startswith(SLOW) else leaf
        for name, leaf in theta.items()
    }


@pytest.fixture(params=[0, 1, 2])
def support(request: pytest.FixtureRequest) -> tuple[Regression, ...]:
    return tuple(regression(seed) for seed in range(request.param))


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_equals_a_loop_over_tasks(
    model: Model, rule_name: str, support: tuple[Regression, ...], first_order: bool
) -> None:
    rule = RULES[rule_name](STEP_SIZES)
    theta, loss, query = meta_parameters(model, rule), mean_squared_error(model), regression(9)
    expected_loss, expected = loop_meta_gradient(
        theta, STEP_SIZES, loss, loss, support, query, TASKS, first_order=first_order
    )
    gradient, value = meta_gradient(theta, rule, loss, loss, support, query, first_order=first_order)
    torch.testing.assert_close(value, expected_loss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-13)


def test_meta_gradient_equals_finite_differences(model: Model, rule_name: str, support: tuple[Regression, ...]) -> None:
    rule = RULES[rule_name](STEP_SIZES)
    theta, loss, query = meta_parameters(model, rule), mean_squared_error(model), regression(9)
    gradient, _ = meta_gradient(theta, rule, loss, loss, support, query)
    for seed in range(5):
        direction = torch.randn(ravel(theta).shape, generator=generator(seed), dtype=torch.float64)
        step = unravel(direction, theta)
        plus, minus = (meta_loss(add(theta, step, h), rule, loss, loss, support, query) for h in (1e-6, -1e-6))
        torch.testing.assert_close((plus - minus) / 2e-6, ravel(gradient).dot(direction), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_quadratic_family_has_the_closed_form(steps: int) -> None:
    """L_i(x) = |x - c_i|^2 / 2: K steps of size a give theta' - c = (1 - a)^K (theta - c)."""
    centres = torch.randn(TASKS, 4, generator=generator(1), dtype=torch.float64)
    theta, alpha = {"x": torch.randn(4, generator=generator(2), dtype=torch.float64)}, 0.3

    def loss(params: Params, centre: Tensor) -> Tensor:
        return 0.5 * ((params["x"] - centre) ** 2).sum()

    shrink = (1 - alpha) ** steps
    gradient, value = meta_gradient(theta, sgd([alpha]), loss, loss, [centres] * steps, centres)
    distance = theta["x"] - centres
    torch.testing.assert_close(value, 0.5 * shrink**2 * (distance**2).sum(1).mean())
    torch.testing.assert_close(gradient["x"], shrink**2 * distance.mean(0))
    first_order, _ = meta_gradient(theta, sgd([alpha]), loss, loss, [centres] * steps, centres, first_order=True)
    torch.testing.assert_close(first_order["x"], shrink * distance.mean(0))


def test_first_order_is_the_gradient_at_the_adapted_parameters(model: Model) -> None:
    theta, loss = parameters(model), mean_squared_error(model)
    support, query = task(regression(0), 0), task(regression(9), 0)
    adapted = adapt(theta, sgd(STEP_SIZES), loss, [support, support])
    expected = grad(loss)(adapted, query)
    actual = grad(lambda p: task_loss(p, sgd(STEP_SIZES), loss, loss, [support, support], query, first_order=True))(
        theta
    )
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-14)


def test_each_task_takes_a_full_step_whatever_the_number_of_tasks(model: Model) -> None:
    """No inner step is divided by the size of the meta-batch."""
    theta, loss = parameters(model), mean_squared_error(model)
    support, query = regression(0), regression(9)
    together = meta_loss(theta, sgd(STEP_SIZES), loss, loss, [support], query)
    alone = [task_loss(theta, sgd(STEP_SIZES), loss, loss, [task(support, i)], task(query, i)) for i in range(TASKS)]
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-13, atol=0)


def test_steps_one_at_a_time_equal_all_at_once(model: Model) -> None:
    theta, loss, rule = parameters(model), mean_squared_error(model), sgd((0.3, 0.1, 0.05))
    batches = [task(regression(seed), 0) for seed in range(4)]
    at_once = adapt(theta, rule, loss, batches)
    stepwise = theta
    for step, batch in enumerate(batches):
        stepwise = adapt(stepwise, rule, loss, [batch], first_step=step)
    torch.testing.assert_close(stepwise, at_once, rtol=0, atol=0)


@pytest.mark.parametrize("sizes", [(), (0.0,), (0.1, -0.1), (float("nan"),), (0.1, float("inf"))])
def test_step_sizes_must_be_positive(sizes: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="step sizes must be positive"):
        sgd(sizes)


def test_every_rule_gives_back_what_it_was_given(model: Model, rule_name: str) -> None:
    rule = RULES[rule_name](STEP_SIZES)
    theta = meta_parameters(model, rule)
    fast, slow = rule.split(theta)
    assert set(fast) == set(parameters(model))
    assert rule.merge(fast, slow) == {**fast, **slow}
    assert rule.split(rule.merge(fast, slow)) == (fast, slow)


def test_slow_parameters_are_meta_learned_but_no_inner_step_changes_them() -> None:
    """L(x) = (x + s)^2 / 2 with s slow: theta' = x - a (x + s), the outer loss sees s twice."""
    theta = {"x": torch.tensor(2.0), f"{SLOW}s": torch.tensor(1.0)}

    def loss(params: Params, batch: Tensor) -> Tensor:
        return 0.5 * (params["x"] + params[f"{SLOW}s"]) ** 2 + 0 * batch

    data = torch.zeros(1)
    adapted = adapt(theta, sgd([0.25]), loss, [data[0]])
    assert adapted == {"x": torch.tensor(1.25), f"{SLOW}s": torch.tensor(1.0)}
    gradient, value = meta_gradient(theta, sgd([0.25]), loss, loss, [data], data)
    assert value == pytest.approx(0.5 * 2.25**2)  # 0.75 (x + s)
    assert gradient == {"x": pytest.approx(0.75 * 2.25), f"{SLOW}s": pytest.approx(0.75 * 2.25)}


def test_meta_sgd_starts_as_sgd_and_learns_a_step_size_for_every_parameter() -> None:
    """L(x) = |h * x|^2 / 2, h a constant: the best alpha of parameter i is 1 / h_i^2."""
    h, data = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.zeros(1)

    def loss(params: Params, batch: Tensor) -> Tensor:
        return 0.5 * ((h * params["x"]) ** 2).sum() + 0 * batch

    rule = meta_sgd([0.2, 0.1])
    theta = rule.init({"x": torch.tensor([1.0, -1.0], dtype=torch.float64)})
    for steps in (1, 2, 3):
        one, other = (adapt(theta, r, loss, [data[0]] * steps) for r in (rule, sgd([0.2, 0.1])))
        torch.testing.assert_close(one["x"], other["x"])
    for _ in range(1000):
        gradient, _ = meta_gradient(theta, rule, loss, loss, [data], data)
        theta = {"x": theta["x"], STEP: theta[STEP] - 0.02 * gradient[STEP]}
    torch.testing.assert_close(theta[STEP], 1 / h**2, rtol=1e-3, atol=0)
