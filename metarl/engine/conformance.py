"""Public check of inner rules, for those who write one: `check_rule`, on a small regression."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from metarl.arguments import require, require_parts
from metarl.engine.maml import Learner
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.rules import InnerRule, Rule, first_order
from metarl.surroundings import usual_torch

TASKS = 3  # M tasks of the regression
STEPS = 2  # inner steps
POINTS = 5  # examples of a task in each batch
DIFFERENCE = 1e-6  # of finite differences, in float64


class _Points(NamedTuple):
    """The regression's examples of M tasks."""

    inputs: Tensor  # [M, N, 2]
    targets: Tensor  # [M, N, 2]


@usual_torch()
def check_rule(rule: Rule, *, seed: int = 0) -> None:
    """Raise ValueError where a rule does not do what the engine and the problems rely on.

    The check is made in float64, with the likelihood of a small network as loss. Its parameters are named as those of
    the project's networks: `body.0.weight`, `body.0.bias`, `body.0.shift`, `head.weight`, `head.bias`, `log_std`.

    Args:
        rule: the rule's options; the rule is built with its own step sizes.
        seed: key of the parameters and the data.
    """
    require_parts(rule=rule)
    built = rule.build()
    generator = torch.Generator().manual_seed(seed)
    network = mlp((2, 3, 2), "tanh")
    params = _in_double(network.init(generator) | {"body.0.shift": torch.zeros(3), "log_std": torch.zeros(2)})
    meta = built.init(dict(params), generator)
    _require_like(meta, params, "init must keep the model's parameters")
    # Moved away from initial values that hide mistakes, such as 0 or one step size for all parameters.
    noise = torch.randn(ravel(meta).shape, generator=generator, dtype=torch.float64)
    theta = add(meta, unravel(noise, meta), 0.05)
    support = [_points(generator) for _ in range(STEPS)]
    query = _points(generator)
    _check_functions(built, theta, _likelihood(network), _of_task(support[0], 0))
    for held in (built, first_order(built)):
        learner = Learner(held, _likelihood(network))
        _check_steps(learner, theta, support)
        _check_meta_gradient(learner, theta, support, query, generator)


def _check_functions(rule: InnerRule, theta: Params, loss: Callable[[Params, _Points], Tensor], data: _Points) -> None:
    """Check what each of the rule's functions returns, and that none changes its arguments."""
    before = {name: leaf.clone() for name, leaf in theta.items()}
    fast = rule.start(theta)
    require(bool(fast), "start must return something that adapts")
    started = {name: leaf.clone() for name, leaf in fast.items()}
    _require_equal(rule.start(theta), started, "start must return the same for the same meta-parameters")
    merged = rule.merge(fast, theta)
    _require_like(merged, theta, "merge must keep every name of the meta-parameters, so that theta' can adapt again")
    (gradient,) = Learner(rule, loss).inner_gradients(theta, [data])
    require(set(gradient) == set(fast), "the model must depend on what adapts: merge must return it, or what it makes")
    moved = rule.update(fast, gradient, theta, 0)
    require(set(moved) == set(fast), f"update must return the names {', '.join(fast)}; got {', '.join(moved)}")
    _require_like(moved, fast, "update must keep the shapes and dtypes of what adapts")
    _require_equal(theta, before, "a rule must not change the meta-parameters in place")
    _require_equal(fast, started, "update must not change what it is given in place")
    after = ravel(rule.merge(moved, theta))
    require(not torch.equal(after, ravel(merged)), "a step along a gradient must change what merge returns")


def _check_steps(learner: Learner, theta: Params, support: list[_Points]) -> None:
    """Check that tasks adapted together, step by step, end where each ends that is adapted alone, in one call."""
    fast = learner.start_each(theta, TASKS)
    for step, batch in enumerate(support):
        fast = learner.step_each(fast, theta, batch, step=step)
    together = learner.merge_each(fast, theta)
    for task in range(TASKS):
        alone = learner.adapt(theta, [_of_task(batch, task) for batch in support])
        of_task = {name: leaf[task] for name, leaf in together.items()}
        _require_equal(of_task, alone, "tasks together, step by step, must adapt as each does alone", tolerance=1e-9)


def _check_meta_gradient(
    learner: Learner, theta: Params, support: list[_Points], query: _Points, generator: torch.Generator
) -> None:
    """Compare the gradient through the adaptation with finite differences.

    For a first-order rule the differences hold the inner gradients at their values at theta.
    """
    functions = TaskFunctions(lambda task: learner.inner_loss(task.adapted, task.query))
    loss, gradient = MetaObjective(theta, learner, functions, support, query).loss_and_gradient(theta)
    _require_like(gradient, theta, "the meta-gradient must have the meta-parameters' names and shapes")
    tasks = [([_of_task(batch, task) for batch in support], _of_task(query, task)) for task in range(TASKS)]
    held = [learner.inner_gradients(theta, batches) for batches, _ in tasks]

    def loss_at(moved: Params) -> float:
        total = 0.0
        for (batches, scored), gradients in zip(tasks, held, strict=True):
            replayed = learner.rule.holds_gradient
            adapted = learner.replay(moved, gradients) if replayed else learner.adapt(moved, batches)
            total += learner.inner_loss(adapted, scored).item()
        return total / TASKS

    require(abs(loss_at(theta) - loss) <= 1e-9 * abs(loss), "the loss of the tasks together must be each one's mean")
    for _ in range(3):
        direction = torch.randn(ravel(theta).shape, generator=generator, dtype=torch.float64)
        step = unravel(direction, theta)
        difference = loss_at(add(theta, step, DIFFERENCE)) - loss_at(add(theta, step, -DIFFERENCE))
        expected = difference / (2 * DIFFERENCE)
        found = ravel(gradient).dot(direction).item()
        require(
            abs(found - expected) <= 1e-6 * (1 + abs(expected)),
            f"the gradient through the adaptation must be that of finite differences: {found:.8g}, not {expected:.8g}",
        )


def _likelihood(network: Model) -> Callable[[Params, _Points], Tensor]:
    """Minus the log likelihood of normal targets, with a shift between the layers' outputs and the mean."""

    def loss(params: Params, points: _Points) -> Tensor:
        mean = network.apply(params, points.inputs) + params["body.0.shift"].sum()
        z = (points.targets - mean) * (-params["log_std"]).exp()
        return (0.5 * z.square() + params["log_std"]).mean()

    return loss


def _points(generator: torch.Generator) -> _Points:
    return _Points(*(torch.randn(TASKS, POINTS, 2, generator=generator, dtype=torch.float64) for _ in range(2)))


def _of_task(points: _Points, task: int) -> _Points:
    return _Points(points.inputs[task], points.targets[task])


def _in_double(params: Params) -> Params:
    return {name: leaf.double() for name, leaf in params.items()}


def _require_like(found: Params, expected: Params, words: str) -> None:
    """The names of `expected` at least, each with its shape and dtype."""
    wrong = [
        name
        for name, leaf in expected.items()
        if name not in found or (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype)
    ]
    require(not wrong, f"{words}; missing, or of another shape or dtype: {', '.join(wrong)}")


def _require_equal(found: Params, expected: Params, words: str, *, tolerance: float = 0.0) -> None:
    names: Iterable[str] = [name for name in expected if name not in found] or [
        name for name, leaf in expected.items() if not torch.allclose(found[name], leaf, rtol=tolerance, atol=tolerance)
    ]
    require(not names, f"{words}; different: {', '.join(names)}")
