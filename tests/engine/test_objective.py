import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import (
    REGRESSION,
    TASKS,
    Regression,
    generator,
    learner_of,
    parameters,
    policy_objective,
    regression,
    sgd,
    squared,
)
from oracles import loop_meta_gradient, task
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from metarl.engine.curvature import CURVATURES
from metarl.engine.gradients import gradients_of
from metarl.engine.maml import Learner
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, add, ravel, unravel
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import likelihood_ratio


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
@pytest.mark.parametrize("held", [False, True])
def test_policy_meta_gradient_equals_a_loop_over_tasks(policy: Model, inner_steps: int, held: bool) -> None:
    theta = parameters(policy)
    objective = policy_objective(policy, theta, inner_steps=inner_steps, held=held)

    def outer_loss(params: Params, batch: PolicyBatch) -> Tensor:
        return likelihood_ratio(policy.apply(params, batch.observations), batch)

    expected_loss, expected = loop_meta_gradient(
        theta,
        (0.1,),
        objective.learner.inner_loss,
        outer_loss,
        objective.support,
        objective.query,
        TASKS,
        first_order=held,
    )
    loss, gradient = objective.loss_and_gradient(theta)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-13)
    assert objective.loss_and_divergence(theta) == (pytest.approx(loss, rel=1e-12), 0.0)


def test_divergence_is_kl_from_old_to_new_at_the_adapted_policies(policy: Model) -> None:
    """Far from theta_old, where the two directions of the KL differ, against torch.distributions and a loop."""
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    direction = torch.randn(ravel(theta).shape, generator=generator(3), dtype=torch.float64)
    moved = add(theta, unravel(0.1 * direction, theta))
    expected = []
    for i in range(TASKS):
        batch = task(objective.query, i)
        support = [task(one, i) for one in objective.support]
        old, new = (
            policy.apply(objective.learner.adapt(params, support), batch.observations) for params in (theta, moved)
        )
        old, new = (Independent(Normal(one.mean, one.log_std.exp()), 1) for one in (old, new))
        expected.append((kl_divergence(old, new) * batch.mask).sum() / batch.mask.sum())
    _, divergence = objective.loss_and_divergence(moved)
    assert divergence == pytest.approx(torch.stack(expected).mean().item(), rel=1e-9)
    assert divergence > 0.01


def test_one_engine_for_supervised_and_reinforcement() -> None:
    """The same toy loss, once as a regression and once dressed as a policy batch, gives identical meta-gradients."""
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    reinforcement = Learner(
        sgd(0.1),
        lambda params, batch: squared(model.apply(params, batch.observations), batch.actions),
        lambda params, batch: model.apply(params, batch.observations),
    )
    functions = TaskFunctions(lambda adapted: squared(adapted.outputs, adapted.query.actions))

    def as_policy_batch(batch: Regression) -> PolicyBatch:
        ones = torch.ones(batch.inputs.shape[:2], dtype=torch.float64)
        return PolicyBatch(batch.inputs, batch.targets, ones, ones, ones, ones)

    support, query = regression(0), regression(1)
    one = MetaObjective(theta, learner_of(model, sgd(0.1)), REGRESSION, [support], query)
    other = MetaObjective(theta, reinforcement, functions, [as_policy_batch(support)], as_policy_batch(query))
    (loss, gradient), (other_loss, other_gradient) = one.loss_and_gradient(theta), other.loss_and_gradient(theta)
    assert loss == other_loss
    assert all(torch.equal(gradient[name], other_gradient[name]) for name in theta)


def test_masked_timesteps_have_no_influence(policy: Model) -> None:
    theta = parameters(policy)
    clean = policy_objective(policy, theta)

    def soil(batch: PolicyBatch) -> PolicyBatch:
        bad = batch.mask == 0
        return batch._replace(
            observations=batch.observations.masked_fill(bad[..., None], 50.0),
            actions=batch.actions.masked_fill(bad[..., None], -3.0),
            log_probs=batch.log_probs.masked_fill(bad, -1.0),
            advantages=batch.advantages.masked_fill(bad, 7.0),
        )

    support = [soil(batch) for batch in clean.support]
    soiled = MetaObjective(theta, clean.learner, clean.functions, support, soil(clean.query))
    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    torch.testing.assert_close(soiled.loss_and_gradient(theta), clean.loss_and_gradient(theta), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        soiled.curvature(theta, "gauss_newton")(v), clean.curvature(theta, "gauss_newton")(v), rtol=1e-12, atol=1e-14
    )


def test_parameters_may_be_scalars() -> None:
    """A learned scale, of shape ()."""
    learner = Learner(
        sgd(0.1),
        lambda params, batch: squared(params["scale"] * batch.inputs, batch.targets),
        lambda params, batch: params["scale"] * batch.inputs,
    )
    theta = {"scale": torch.tensor(0.5, dtype=torch.float64)}
    support, query, v = regression(0), regression(1), torch.ones(1, dtype=torch.float64)
    objective = MetaObjective(theta, learner, REGRESSION, [support], query)
    slope = 1 - 2 * 0.1 * (support.inputs**2).mean((1, 2))  # of the adapted scale in the scale
    expected = (2 * slope**2 * (query.inputs**2).mean((1, 2))).mean()
    for kind in CURVATURES:
        product = objective.curvature(theta, kind)(v)
        torch.testing.assert_close(product, expected[None], rtol=1e-9, atol=0)


def test_sums_are_reduced_and_divided_by_the_global_number_of_tasks(policy: Model) -> None:
    """Two halves of a meta-batch, summed by `reduce`, answer as the whole does."""
    theta = parameters(policy)
    whole = policy_objective(policy, theta)
    partial: list[Tensor] = []

    def shard(start: int, stop: int, reduce: Callable[[Tensor], Tensor]) -> MetaObjective:
        def part(batch: PolicyBatch) -> PolicyBatch:
            return PolicyBatch(*(field[start:stop] for field in batch))

        support = [part(batch) for batch in whole.support]
        return MetaObjective(
            theta, whole.learner, whole.functions, support, part(whole.query), num_tasks=TASKS, reduce=reduce
        )

    def record(total: Tensor) -> Tensor:
        partial.append(total)
        return total

    shard(0, 1, record).loss_and_gradient(theta)
    rank0 = iter(partial.copy())
    loss, gradient = shard(1, TASKS, lambda total: total + next(rank0)).loss_and_gradient(theta)
    expected_loss, expected = whole.loss_and_gradient(theta)
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_what_a_problem_lacks_is_named() -> None:
    model = mlp((2, 2), "tanh")
    theta = parameters(model)
    learner = learner_of(model, sgd(0.1))
    objective = MetaObjective(theta, learner, REGRESSION._replace(divergence=None), [], regression(0))
    with pytest.raises(ValueError, match="no divergence: choose the outer optimiser adam"):
        objective.loss_and_divergence(theta)
    with pytest.raises(ValueError, match="unknown curvature 'newton': choose one of symmetric"):
        objective.curvature(theta, "newton")
    with pytest.raises(ValueError, match="no subsets"):
        MetaObjective(theta, learner, REGRESSION, [], regression(0)).curvature(theta, "exact", 0.5)


def test_sums_over_tasks_are_taken_in_float64() -> None:
    """Tasks whose losses and gradients cancel in the sum: float32 loses what is left of them."""
    big = torch.tensor([1e8, 1.0, -1e8, 1.0] * 8)

    def loss(params: Params, factor: Tensor) -> Tensor:
        return params["x"] * factor

    learner = Learner(sgd(0.1), loss, lambda params, factor: params["x"] * factor)
    functions = TaskFunctions(lambda adapted: adapted.outputs, lambda old, new, factor: new.square() * factor)
    theta = {"x": torch.tensor(1.0)}
    objective = MetaObjective(theta, learner, functions, [], big)
    assert objective.loss_and_gradient(theta) == (0.5, {"x": torch.tensor(0.5)})
    squares = MetaObjective(theta, learner, functions._replace(divergence=lambda old, new, factor: new), [], big)
    assert squares.loss_and_divergence(theta) == (0.5, 0.5)


def test_an_objective_under_another_outer_loss_is_otherwise_the_same(policy: Model) -> None:
    theta = parameters(policy)
    whole = policy_objective(policy, theta)
    calls = []

    def reduce(total: Tensor) -> Tensor:
        calls.append(total)
        return 2 * total

    objective = MetaObjective(
        theta, whole.learner, whole.functions, whole.support, whole.query, num_tasks=6, first_task=2, reduce=reduce
    )
    other = objective.with_outer_loss(lambda adapted: 3 * whole.functions.outer_loss(adapted))
    loss, gradient = objective.loss_and_gradient(theta)
    tripled_loss, tripled = other.loss_and_gradient(theta)
    assert tripled_loss == pytest.approx(3 * loss, rel=1e-12)
    torch.testing.assert_close(ravel(tripled), 3 * ravel(gradient), rtol=1e-12, atol=1e-15)
    assert (other.num_tasks, other.first_task, len(calls)) == (6, 2, 2)
    moved = add(theta, theta, 0.01)
    assert other.loss_and_divergence(moved)[1] == objective.loss_and_divergence(moved)[1]


def test_the_gradient_at_the_old_parameters_leaves_the_outputs_that_divergences_are_measured_from(
    policy: Model,
) -> None:
    """Elsewhere it does not; the divergence is the same, bit for bit, whether it did or not."""
    theta = parameters(policy)
    moved = add(theta, theta, 0.01)
    whole = policy_objective(policy, theta)
    passes = []

    def predict(params: Params, batch: PolicyBatch) -> Any:
        passes.append(0)
        return whole.learner.predict(params, batch)

    def passes_of_a_divergence(*gradients_at: Params) -> tuple[int, tuple[float, float]]:
        learner = dataclasses.replace(whole.learner, predict=predict)
        objective = MetaObjective(theta, learner, whole.functions, whole.support, whole.query)
        for params in gradients_at:
            objective.loss_and_gradient(params)
        passes.clear()
        answer = objective.loss_and_divergence(moved)
        return len(passes), answer

    count, expected = passes_of_a_divergence()
    assert count == 2
    assert passes_of_a_divergence(moved) == (2, expected)
    assert passes_of_a_divergence(theta) == passes_of_a_divergence(theta, moved) == (1, expected)


@pytest.mark.parametrize(("most", "sizes"), [(None, [6]), (6.0, [6]), (5.9, [3, 3]), (2.5, [2, 2, 2]), (0.1, [1] * 6)])
def test_gradients_of_some_tasks_at_a_time_are_the_same(
    most: float | None, sizes: list[int], tasks_at_a_time: list[int]
) -> None:
    """As many tasks as have `most` parameters, in parts of equal sizes; `most` is in units of one task's here."""
    model = mlp((2, 5, 2), "tanh")
    learner = learner_of(model, sgd(0.1))
    theta = parameters(model)
    support, query = regression(0, tasks=6), regression(1, tasks=6)
    expected = learner.task_gradients(REGRESSION.outer_loss, theta, [support], query, with_outputs=True)
    tasks_at_a_time.clear()
    limit = None if most is None else int(most * len(ravel(theta)))
    found = gradients_of(learner, REGRESSION.outer_loss, with_outputs=True, most=limit)(theta, (support,), query)
    assert tasks_at_a_time == sizes
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def test_who_must_compile_says_so_until_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    model = mlp((2, 5, 2), "tanh")
    learner, theta = learner_of(model, sgd(0.1)), parameters(model)
    compiled = gradients_of(learner, REGRESSION.outer_loss, with_outputs=True, compiled=True)
    objective = MetaObjective(theta, learner, REGRESSION, [regression(0)], regression(1), gradients=compiled)
    assert objective.must_compile
    objective.loss_and_gradient(theta)
    assert not objective.must_compile
    assert not MetaObjective(theta, learner, REGRESSION, [regression(0)], regression(1)).must_compile
