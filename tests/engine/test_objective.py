from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import TASKS, Regression, gaussian_mlp, generator, parameters, policy_objective, regression
from metarl.engine.inner import RULES, SLOW, STEP_SIZE, sgd
from metarl.engine.trust_region import CURVATURES, conjugate_gradient
from oracles import dense_hessian, loop_meta_gradient, task
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence
from torch.func import vmap

from metarl.engine.maml import adapt
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, add, ravel, unravel
from metarl.rl.episodes import PolicyBatch, timestep_subset
from metarl.rl.losses import likelihood_ratio


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).mean()


def regression_functions(model: Model) -> TaskFunctions:
    """Mean squared errors, inside and outside."""
    return TaskFunctions(
        inner_loss=lambda params, batch: squared(model.apply(params, batch.inputs), batch.targets),
        predict=lambda params, batch: model.apply(params, batch.inputs),
        outer_loss=lambda outputs, batch: squared(outputs, batch.targets),
    )


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
@pytest.mark.parametrize("first_order", [False, True])
def test_policy_meta_gradient_equals_a_loop_over_tasks(policy: Model, inner_steps: int, first_order: bool) -> None:
    theta = parameters(policy)
    objective = policy_objective(policy, theta, inner_steps=inner_steps, first_order=first_order)

    def outer_loss(params: Params, batch: PolicyBatch) -> Tensor:
        return likelihood_ratio(policy.apply(params, batch.observations), batch)

    expected_loss, expected = loop_meta_gradient(
        theta,
        (0.1,),
        objective.functions.inner_loss,
        outer_loss,
        objective.support,
        objective.query,
        TASKS,
        first_order=first_order,
    )
    loss, gradient = objective.loss_and_gradient(theta)
    assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-13)
    assert objective.loss_and_divergence(theta) == (pytest.approx(loss, rel=1e-12), 0.0)


@pytest.mark.parametrize("kind", ["exact", "gauss_newton"])
@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_curvature_equals_the_dense_hessian(policy: Model, kind: str, inner_steps: int) -> None:
    theta = parameters(policy)
    objective = policy_objective(policy, theta, inner_steps=inner_steps)
    dense, matvec = dense_hessian(objective, theta), objective.curvature(theta, kind)
    v = torch.randn(len(dense), generator=generator(0), dtype=torch.float64)
    torch.testing.assert_close(matvec(v), dense @ v, rtol=1e-9, atol=1e-9 * (dense @ v).norm().item())


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_gauss_newton_is_exact_for_every_model(model: Model, inner_steps: int) -> None:
    """Normalisation layers too, whose scale torch differentiates wrongly outside vmap if it is not set apart."""
    theta = parameters(model)
    functions = regression_functions(model)._replace(divergence=lambda old, new, batch: squared(new, old))
    support = [regression(seed) for seed in range(inner_steps)]
    objective = MetaObjective(theta, sgd([0.3]), functions, support, regression(9), num_tasks=TASKS)
    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    expected = objective.curvature(theta, "exact")(v)
    error = (objective.curvature(theta, "gauss_newton")(v) - expected).norm() / expected.norm()
    assert error < 1e-10


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_curvature_kinds_agree_on_a_smooth_policy(inner_steps: int, first_order: bool, fraction: float) -> None:
    """Tanh, float64: Gauss-Newton to 1e-9, symmetric differences to 1e-6, forward ones to their truncation."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8, 8), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta, inner_steps=inner_steps, first_order=first_order)
    exact = objective.curvature(theta, "exact", fraction)
    bounds = {"gauss_newton": ({}, 1e-9), "symmetric": ({"epsilon": 1e-4}, 1e-6), "forward": ({"epsilon": 1e-6}, 1e-4)}
    assert {*bounds, "exact"} == set(CURVATURES)
    for kind, (options, bound) in bounds.items():
        v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
        expected = exact(v)
        error = (objective.curvature(theta, kind, fraction, **options)(v) - expected).norm() / expected.norm()
        assert error < bound, (kind, error)


def test_divergence_is_kl_from_old_to_new_at_the_adapted_policies(policy: Model) -> None:
    """Far from theta_old, where the two directions of the KL differ, against torch.distributions and a loop."""
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    direction = torch.randn(ravel(theta).shape, generator=generator(3), dtype=torch.float64)
    moved = add(theta, unravel(0.1 * direction, theta))
    expected = []
    for i in range(TASKS):
        batch = task(objective.query, i)
        old, new = (
            policy.apply(objective.adapt(params, [task(one, i) for one in objective.support]), batch.observations)
            for params in (theta, moved)
        )
        old, new = (Independent(Normal(one.mean, one.log_std.exp()), 1) for one in (old, new))
        expected.append((kl_divergence(old, new) * batch.mask).sum() / batch.mask.sum())
    _, divergence = objective.loss_and_divergence(moved)
    assert divergence == pytest.approx(torch.stack(expected).mean().item(), rel=1e-9)
    assert divergence > 0.01


def test_curvature_does_not_depend_on_the_length_of_the_vector_beyond_scale() -> None:
    """Finite differences scale their step by 1 / norm(v): a tiny residual is as well resolved as a large gradient."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8, 8), activation="tanh")
    theta = policy.init(generator(0))
    objective = policy_objective(policy, theta, dtype=torch.float32)
    matvec = objective.curvature(theta, "symmetric")
    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    torch.testing.assert_close(matvec(1e-6 * v), 1e-6 * matvec(v), rtol=1e-2, atol=1e-9)


def test_subset_curvature_is_of_a_part_of_the_query_adapted_on_all_of_the_support(policy: Model) -> None:
    """The same numbers as of an objective whose query has nothing but that part."""
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    part = vmap(lambda query: timestep_subset(query, 0.5))(objective.query)
    assert part.mask.shape == (TASKS, 10, 1)  # half of 5 x 4
    less = MetaObjective(theta, objective.rule, objective.functions, objective.support, part, num_tasks=TASKS)
    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    expected = less.curvature(theta, "exact")(v)
    torch.testing.assert_close(objective.curvature(theta, "exact", 0.5)(v), expected, rtol=1e-10, atol=1e-14)
    assert (objective.curvature(theta, "exact")(v) - expected).norm() > 1e-3 * expected.norm()


@pytest.mark.parametrize("kind", ["gauss_newton", "symmetric"])
@pytest.mark.parametrize(("fraction", "chosen"), [(0.5, [0, 2]), (0.1, [0]), (0.6, [0, 1])])
def test_curvature_of_some_tasks_is_theirs_alone(policy: Model, kind: str, fraction: float, chosen: list[int]) -> None:
    """On one rank, and on two, of which the second may have none of them."""
    theta = parameters(policy)
    assert TASKS == 3
    whole = policy_objective(policy, theta)

    def part(start: int, stop: int, **options: Any) -> MetaObjective:
        def cut(batch: PolicyBatch) -> PolicyBatch:
            return PolicyBatch(*(field[start:stop] for field in batch))

        support = [cut(batch) for batch in whole.support]
        return MetaObjective(theta, whole.rule, whole.functions, support, cut(whole.query), **options)

    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    alone = [part(i, i + 1, num_tasks=1).curvature(theta, kind)(v) for i in chosen]
    expected = sum(alone) / len(alone)
    torch.testing.assert_close(whole.curvature(theta, kind, task_fraction=fraction)(v), expected, rtol=1e-9, atol=1e-13)
    ranks = [part(0, 2, num_tasks=TASKS), part(2, 3, num_tasks=TASKS, first_task=2)]
    total = sum(one.curvature(theta, kind, task_fraction=fraction)(v) for one in ranks)
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-13)


def test_one_engine_for_supervised_and_reinforcement() -> None:
    """The same toy loss, once as a regression and once dressed as a policy batch, gives identical meta-gradients."""
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    supervised = regression_functions(model)
    reinforcement = TaskFunctions(
        inner_loss=lambda params, batch: squared(model.apply(params, batch.observations), batch.actions),
        predict=lambda params, batch: model.apply(params, batch.observations),
        outer_loss=lambda outputs, batch: squared(outputs, batch.actions),
    )

    def as_policy_batch(batch: Regression) -> PolicyBatch:
        ones = torch.ones(batch.inputs.shape[:2], dtype=torch.float64)
        return PolicyBatch(batch.inputs, batch.targets, ones, ones, ones)

    support, query = regression(0), regression(1)
    one = MetaObjective(theta, sgd([0.1]), supervised, [support], query, num_tasks=TASKS)
    other = MetaObjective(
        theta, sgd([0.1]), reinforcement, [as_policy_batch(support)], as_policy_batch(query), num_tasks=TASKS
    )
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

    soiled = MetaObjective(
        theta, clean.rule, clean.functions, [soil(b) for b in clean.support], soil(clean.query), num_tasks=TASKS
    )
    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    torch.testing.assert_close(soiled.loss_and_gradient(theta), clean.loss_and_gradient(theta), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        soiled.curvature(theta, "gauss_newton")(v), clean.curvature(theta, "gauss_newton")(v), rtol=1e-12, atol=1e-14
    )


def test_parameters_may_be_scalars() -> None:
    """A learned scale, of shape ()."""
    functions = TaskFunctions(
        inner_loss=lambda params, batch: ((params["scale"] * batch.inputs - batch.targets) ** 2).mean(),
        predict=lambda params, batch: params["scale"] * batch.inputs,
        outer_loss=lambda outputs, batch: ((outputs - batch.targets) ** 2).mean(),
        divergence=lambda old, new, batch: ((new - old) ** 2).mean(),
    )
    theta = {"scale": torch.tensor(0.5, dtype=torch.float64)}
    support, query, v = regression(0), regression(1), torch.ones(1, dtype=torch.float64)
    objective = MetaObjective(theta, sgd([0.1]), functions, [support], query, num_tasks=TASKS)
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
            theta, whole.rule, whole.functions, support, part(whole.query), num_tasks=TASKS, reduce=reduce
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
    functions = TaskFunctions(
        inner_loss=lambda params, batch: model.apply(params, batch.inputs).square().mean(),
        predict=lambda params, batch: model.apply(params, batch.inputs),
        outer_loss=lambda outputs, batch: outputs.square().mean(),
    )
    objective = MetaObjective(theta, sgd([0.1]), functions, [], regression(0), num_tasks=TASKS)
    with pytest.raises(ValueError, match="no divergence: choose the outer optimiser adam"):
        objective.loss_and_divergence(theta)
    with pytest.raises(ValueError, match="unknown curvature 'newton': choose one of symmetric"):
        objective.curvature(theta, "newton")
    with pytest.raises(ValueError, match="no subsets"):
        MetaObjective(
            theta,
            sgd([0.1]),
            functions._replace(divergence=lambda old, new, batch: new.sum()),
            [],
            regression(0),
            num_tasks=TASKS,
        ).curvature(theta, "exact", 0.5)


def test_conjugate_gradient_inverts_the_policy_curvature(policy: Model) -> None:
    """On a real objective: (H + damping I) x = g, checked against the dense Hessian."""
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    g = ravel(objective.loss_and_gradient(theta)[1])
    solution = conjugate_gradient(
        objective.curvature(theta, "gauss_newton"), g, iterations=150, tolerance=1e-24, damping=1e-2
    )
    dense = dense_hessian(objective, theta) + 1e-2 * torch.eye(len(g), dtype=torch.float64)
    torch.testing.assert_close(solution.x, torch.linalg.solve(dense, g), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule_name", ["sgd", "meta-sgd"])
@pytest.mark.parametrize("kind", ["gauss_newton", "exact"])
@pytest.mark.parametrize("first_order", [False, True])
def test_curvature_of_every_rule_is_the_hessian(rule_name: str, kind: str, first_order: bool) -> None:
    """Against double backward through a loop; first order holds the inner gradient, not what the rule makes of it."""
    model, rule = mlp((2, 3, 2), "tanh"), RULES[rule_name]([0.3])
    theta = rule.init(parameters(model))
    functions = regression_functions(model)._replace(divergence=lambda old, new, batch: squared(new, old))
    support, query = [regression(0)], regression(9)
    objective = MetaObjective(theta, rule, functions, support, query, num_tasks=TASKS, first_order=first_order)
    adapted = [adapt(theta, rule, functions.inner_loss, [task(support[0], i)]) for i in range(TASKS)]
    old = [functions.predict(params, task(query, i)) for i, params in enumerate(adapted)]

    def divergence(vector: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i in range(TASKS):
            params = unravel(vector, theta)
            fast = [name for name in params if not name.startswith(SLOW)]
            held = {name: leaf.detach().requires_grad_() for name, leaf in params.items()}
            point = held if first_order else params
            loss = functions.inner_loss(point, task(support[0], i))
            steps = torch.autograd.grad(loss, [point[name] for name in fast], create_graph=not first_order)
            sizes = [params.get(f"{STEP_SIZE}{name}", 0.3) for name in fast]
            moved = {name: params[name] - a * s for name, a, s in zip(fast, sizes, steps, strict=True)}
            total = total + squared(functions.predict(params | moved, task(query, i)), old[i])
        return total / TASKS

    dense = torch.as_tensor(torch.autograd.functional.hessian(divergence, ravel(theta)))
    matvec = objective.curvature(theta, kind)
    for seed in range(3):
        v = torch.randn(len(dense), generator=generator(seed), dtype=torch.float64)
        torch.testing.assert_close(matvec(v), dense @ v, rtol=1e-9, atol=1e-9 * (dense @ v).norm().item())
