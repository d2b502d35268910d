import math

import numpy as np
import pytest
import torch
from conftest import generator
from scipy.sparse.linalg import cg as scipy_cg

from metarl.engine.solvers import backtracking_line_search, conjugate_gradient


def positive_definite(size: int, seed: int) -> torch.Tensor:
    root = torch.randn(size, size, generator=generator(seed), dtype=torch.float64)
    return root @ root.T + 5.0 * torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 3, 10, 30])
def test_iterates_equal_scipys(iterations: int) -> None:
    matrix, b = positive_definite(30, 0), torch.randn(30, generator=generator(1), dtype=torch.float64)
    ours = conjugate_gradient(lambda v: matrix @ v, b, iterations=iterations, tolerance=0.0)
    theirs, _ = scipy_cg(matrix.numpy(), b.numpy(), maxiter=iterations, rtol=0, atol=0)
    np.testing.assert_allclose(ours.x.numpy(), theirs, rtol=1e-6, atol=1e-8)
    assert ours.iterations == iterations


def test_damping_is_added_to_the_matrix() -> None:
    matrix, b = positive_definite(8, 0), torch.randn(8, generator=generator(1), dtype=torch.float64)
    solution = conjugate_gradient(lambda v: matrix @ v, b, iterations=100, tolerance=1e-24, damping=0.5)
    expected = torch.linalg.solve(matrix + 0.5 * torch.eye(8, dtype=torch.float64), b)
    torch.testing.assert_close(solution.x, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("iterations", [1, 4, 30])
def test_the_quadratic_is_that_of_the_damped_matrix(iterations: int) -> None:
    """x^T (A + damping I) x after any number of steps, and 0 before the first."""
    matrix, b = positive_definite(30, 0), torch.randn(30, generator=generator(1), dtype=torch.float64)
    solution = conjugate_gradient(lambda v: matrix @ v, b, iterations=iterations, tolerance=0.0, damping=0.5)
    expected = solution.x.dot(matrix @ solution.x + 0.5 * solution.x).item()
    assert solution.quadratic == pytest.approx(expected, rel=1e-9)
    assert conjugate_gradient(lambda v: matrix @ v, b, iterations=0).quadratic == 0


def test_stops_when_the_squared_residual_is_small() -> None:
    solution = conjugate_gradient(lambda v: 2 * v, torch.ones(5, dtype=torch.float64), iterations=10)
    assert solution.iterations == 1
    assert solution.residual < 1e-10
    torch.testing.assert_close(solution.x, torch.full((5,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-12])
def test_stops_at_the_first_residual_below_the_tolerance(tolerance: float) -> None:
    """And not before: the residual one step earlier is above it."""
    matrix, b = positive_definite(30, 0), torch.randn(30, generator=generator(1), dtype=torch.float64)
    found = conjugate_gradient(lambda v: matrix @ v, b, iterations=100, tolerance=tolerance)
    before = conjugate_gradient(lambda v: matrix @ v, b, iterations=found.iterations - 1, tolerance=0.0)
    assert found.residual < tolerance <= before.residual
    assert found.residual == pytest.approx((b - matrix @ found.x).square().sum().item(), rel=1e-3)
    assert 1 < found.iterations < 30


def test_stops_on_non_positive_curvature_and_keeps_what_it_has() -> None:
    matrix = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    solution = conjugate_gradient(lambda v: matrix @ v, torch.tensor([1.0, 0.5], dtype=torch.float64), iterations=10)
    assert solution.iterations == 1
    assert torch.isfinite(solution.x).all()
    rejected = conjugate_gradient(lambda v: -v, torch.ones(2), iterations=10)
    assert rejected.iterations == 0
    assert torch.equal(rejected.x, torch.zeros(2))


def test_stops_on_non_finite_products() -> None:
    solution = conjugate_gradient(lambda v: v * math.nan, torch.ones(2), iterations=10)
    assert solution.iterations == 0
    assert torch.equal(solution.x, torch.zeros(2))
    assert math.isnan(solution.quadratic)


def test_line_search_takes_the_first_scale_that_qualifies() -> None:
    tried: list[float] = []

    def evaluate(scale: float) -> tuple[float, float]:
        tried.append(scale)
        return 1 - scale, scale  # better the longer, but the divergence grows with it

    found = backtracking_line_search(evaluate, 1.0, max_divergence=0.6)
    assert tried == pytest.approx([1.0, 0.8, 0.64, 0.512])
    assert found.accepted
    assert (found.backtracks, found.scale) == (3, pytest.approx(0.512))
    assert found.divergence <= 0.6
    assert found.loss < 1.0


@pytest.mark.parametrize(
    "answer", [(1.0, 0.0), (2.0, 0.0), (0.5, 0.011), (math.nan, 0.0), (0.5, math.nan), (-math.inf, math.inf)]
)
def test_line_search_rejects_what_does_not_qualify(answer: tuple[float, float]) -> None:
    """No better loss, too far, or not finite: the old loss is reported with a zero step, and 15 lengths were tried."""
    found = backtracking_line_search(lambda scale: answer, 1.0, max_divergence=0.01)
    assert not found.accepted
    assert (found.scale, found.loss, found.divergence, found.backtracks) == (0.0, 1.0, 0.0, 15)
