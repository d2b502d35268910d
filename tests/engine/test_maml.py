import pytest
import torch
from conftest import TASKS, Regression, generator, parameters, regression
from oracles import loop_meta_gradient, task
from torch import Tensor
from torch.func import grad

from metarl.engine.inner import RULES, sgd
from metarl.engine.maml import Loss, adapt, meta_gradient, meta_loss, task_loss
from metarl.engine.model import Model
from metarl.engine.params import Params, add, ravel, unravel

STEP_SIZES = (0.3, 0.1)


def mean_squared_error(model: Model) -> Loss:
    def loss(params: Params, batch: Regression) -> Tensor:
        return ((model.apply(params, batch.inputs) - batch.targets) ** 2).mean()

    return loss


@pytest.fixture(params=[0, 1, 2])
def support(request: pytest.FixtureRequest) -> tuple[Regression, ...]:
    return tuple(regression(seed) for seed in range(request.param))


@pytest.mark.parametrize("first_order", [False, True])
def test_meta_gradient_equals_a_loop_over_tasks(
    model: Model, rule_name: str, support: tuple[Regression, ...], first_order: bool
) -> None:
    theta, loss, query = parameters(model), mean_squared_error(model), regression(9)
    expected_loss, expected = loop_meta_gradient(
        theta, STEP_SIZES, loss, loss, support, query, TASKS, first_order=first_order
    )
    gradient, value = meta_gradient(
        theta, RULES[rule_name](STEP_SIZES), loss, loss, support, query, first_order=first_order
    )
    torch.testing.assert_close(value, expected_loss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-13)


def test_meta_gradient_equals_finite_differences(model: Model, rule_name: str, support: tuple[Regression, ...]) -> None:
    theta, loss, query = parameters(model), mean_squared_error(model), regression(9)
    rule = RULES[rule_name](STEP_SIZES)
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
