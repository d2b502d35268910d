import typing
from typing import Any

import pytest
import torch
from conftest import (
    REGRESSION,
    TASKS,
    gaussian_mlp,
    generator,
    learner_of,
    parameters,
    policy_objective,
    regression,
    rule_part,
    sgd,
    squared,
)
from oracles import dense_hessian, task
from torch import Tensor
from torch.func import vmap

from metarl.engine.curvature import CURVATURES, Kind
from metarl.engine.maml import Learner
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import ravel, unravel
from metarl.engine.rules import first_order
from metarl.engine.rules.meta_sgd import STEP_SIZE
from metarl.engine.solvers import conjugate_gradient
from metarl.rl.episodes import PolicyBatch, timestep_subset


def test_every_kind_of_curvature_can_be_an_option() -> None:
    assert typing.get_args(Kind) == tuple(CURVATURES)


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_curvature_equals_the_dense_hessian(policy: Model, inner_steps: int) -> None:
    theta = parameters(policy)
    objective = policy_objective(policy, theta, inner_steps=inner_steps)
    dense = dense_hessian(objective, theta)
    v = torch.randn(len(dense), generator=generator(0), dtype=torch.float64)
    expected = dense @ v
    for kind in ("exact", "gauss_newton"):
        product = objective.curvature(theta, kind)(v)
        torch.testing.assert_close(product, expected, rtol=1e-9, atol=1e-9 * expected.norm().item())


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
def test_gauss_newton_is_exact_for_every_model(model: Model, inner_steps: int) -> None:
    """Normalisation layers too, whose scale torch differentiates wrongly outside vmap if it is not set apart."""
    theta = parameters(model)
    support = [regression(seed) for seed in range(inner_steps)]
    objective = MetaObjective(theta, learner_of(model, sgd(0.3)), REGRESSION, support, regression(9))
    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    expected = objective.curvature(theta, "exact")(v)
    error = (objective.curvature(theta, "gauss_newton")(v) - expected).norm() / expected.norm()
    assert error < 1e-10


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_curvature_kinds_agree_on_a_smooth_policy(inner_steps: int, held: bool, fraction: float) -> None:
    """Tanh, float64: Gauss-Newton to 1e-9, symmetric differences to 1e-6, forward ones to their truncation."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8, 8), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta, inner_steps=inner_steps, held=held)
    exact = objective.curvature(theta, "exact", fraction)
    bounds = {"gauss_newton": ({}, 1e-9), "symmetric": ({"epsilon": 1e-4}, 1e-6), "forward": ({"epsilon": 1e-6}, 1e-4)}
    assert {*bounds, "exact"} == set(CURVATURES)
    for kind, (options, bound) in bounds.items():
        v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
        expected = exact(v)
        error = (objective.curvature(theta, kind, fraction, **options)(v) - expected).norm() / expected.norm()
        assert error < bound, (kind, error)


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
    less = MetaObjective(theta, objective.learner, objective.functions, objective.support, part)
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
        return MetaObjective(theta, whole.learner, whole.functions, support, cut(whole.query), **options)

    v = torch.randn(ravel(theta).shape, generator=generator(0), dtype=torch.float64)
    alone = [part(i, i + 1, num_tasks=1).curvature(theta, kind)(v) for i in chosen]
    expected = sum(alone) / len(alone)
    torch.testing.assert_close(whole.curvature(theta, kind, task_fraction=fraction)(v), expected, rtol=1e-9, atol=1e-13)
    ranks = [part(0, 2, num_tasks=TASKS), part(2, 3, num_tasks=TASKS, first_task=2)]
    total = sum(one.curvature(theta, kind, task_fraction=fraction)(v) for one in ranks)
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-13)


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
@pytest.mark.parametrize("kind", CURVATURES)
@pytest.mark.parametrize("inner_steps", [1, 2])
@pytest.mark.parametrize("held", [False, True])
def test_curvature_of_every_rule_is_the_hessian(rule_name: str, kind: str, inner_steps: int, held: bool) -> None:
    """Against double backward through a loop; first order holds the inner gradients, not what the rule makes of them.

    Finite differences too, which have to hold the gradients as they are at theta: to their truncation.
    """
    model, rule = mlp((2, 3, 2), "tanh"), rule_part(rule_name, inner_step_size=0.3).build()
    theta = rule.init(parameters(model), generator(0))
    learner = learner_of(model, first_order(rule) if held else rule)
    support, query = [regression(seed) for seed in range(inner_steps)], regression(9)
    objective = MetaObjective(theta, learner, REGRESSION, support, query)

    def divergence(vector: Tensor) -> Tensor:
        params, total = unravel(vector, theta), torch.zeros((), dtype=torch.float64)
        for i in range(TASKS):
            fast = {name: params[name] for name in parameters(model)}
            for batch in support:
                point = {name: leaf.detach().requires_grad_() for name, leaf in fast.items()} if held else fast
                loss = learner.inner_loss(point, task(batch, i))
                steps = torch.autograd.grad(loss, list(point.values()), create_graph=not held)
                sizes = [params.get(f"{STEP_SIZE}{name}", 0.3) for name in fast]
                fast = {n: leaf - a * g for (n, leaf), a, g in zip(fast.items(), sizes, steps, strict=True)}
            new = learner.predict(fast, task(query, i))
            total = total + squared(new, new.detach())
        return total / TASKS

    dense = torch.as_tensor(torch.autograd.functional.hessian(divergence, ravel(theta), vectorize=True))
    difference = {"symmetric": ({"epsilon": 1e-4}, 1e-6), "forward": ({"epsilon": 1e-7}, 1e-4)}
    options, bound = difference.get(kind, ({}, 1e-9))
    matvec = objective.curvature(theta, kind, **options)
    for seed in range(3):
        v = torch.randn(len(dense), generator=generator(seed), dtype=torch.float64)
        assert (matvec(v) - dense @ v).norm() < bound * (dense @ v).norm()


@pytest.mark.parametrize(("kind", "order"), [("forward", 1), ("symmetric", 2)])
def test_the_step_of_finite_differences_is_epsilon_long_whatever_the_vector(kind: str, order: int) -> None:
    """What truncation leaves of a cubic gradient: epsilon / norm(v) along v, to the first or the second power."""
    learner = Learner(sgd(0.1), lambda params, batch: params["x"].sum() * 0, lambda params, batch: params["x"])
    # the gradient x + x^2 + x^3 of this divergence from 0 is 0 there, with the Hessian 1
    functions = TaskFunctions(
        lambda adapted: adapted.outputs.sum(),
        lambda old, new, batch: (new**2 / 2 + new**3 / 3 + new**4 / 4).sum(),
    )
    theta, query = {"x": torch.zeros(1, dtype=torch.float64)}, torch.zeros(TASKS, 1, dtype=torch.float64)
    objective = MetaObjective(theta, learner, functions, [], query)
    for epsilon in (0.1, 0.01):
        for length in (1e-6, 1.0, 1e3):
            product = objective.curvature(theta, kind, epsilon=epsilon)(torch.tensor([length], dtype=torch.float64))
            expected = 1 + epsilon**2 + (epsilon if kind == "forward" else 0)
            assert product.item() == pytest.approx(length * expected, rel=1e-9)
