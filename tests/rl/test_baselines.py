import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import generator
from torch import Tensor

from metarl.rl.baselines import BASELINES
from metarl.rl.baselines.linear_features import LinearFeatures, features
from metarl.rl.baselines.time_mean import TimeMean
from metarl.rl.baselines.zero import Zero

M, T, E = 3, 6, 4


def data(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Observations [M, T, E, 2], returns [M, T, E] with some beyond the mask, and the mask [M, T, E]."""
    g = generator(seed)
    lengths = torch.randint(1, T + 1, (M, 1, E), generator=g)
    lengths[0] = T  # a task without early ends
    mask = (torch.arange(T)[None, :, None] < lengths).double()
    randn = torch.randn(M, T, E, 3, generator=g, dtype=torch.float64)
    return 20 * randn[..., :2], randn[..., 2], mask


@pytest.mark.parametrize("name", BASELINES.names)
def test_masked_timesteps_have_no_influence_and_the_value_0(name: str) -> None:
    baseline, (observations, returns, mask) = BASELINES.find(name)().build(), data()
    values = baseline(observations, returns, mask)
    outside = mask == 0
    soiled = baseline(observations.masked_fill(outside[..., None], 9.0), returns.masked_fill(outside, -99.0), mask)
    assert values.shape == returns.shape
    torch.testing.assert_close(soiled, values, rtol=1e-10, atol=1e-12)
    assert (values[outside] == 0).all()


@pytest.mark.parametrize("name", BASELINES.names)
def test_tasks_are_fitted_one_by_one(name: str) -> None:
    baseline, (observations, returns, mask) = BASELINES.find(name)().build(), data()
    together = baseline(observations, returns, mask)
    for i in range(M):
        alone = baseline(observations[i : i + 1], returns[i : i + 1], mask[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], rtol=1e-10, atol=1e-12)


def test_features_are_duans() -> None:
    observations = torch.tensor([3.0, -20.0]).expand(1, 2, 1, 2)
    expected = [3.0, -10.0, 9.0, 100.0, 0.01, 0.01**2, 0.01**3, 1.0]
    assert features(observations)[0, 1, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("ridge", [1e-5, 100.0])
def test_linear_features_equal_ridge_regression_on_the_valid_timesteps_of_each_task(ridge: float) -> None:
    observations, returns, mask = data()
    values = LinearFeatures(ridge=ridge).build()(observations, returns, mask)
    inputs = features(observations)
    for i in range(M):
        valid = mask[i].bool()
        x, y = inputs[i][valid].numpy(), returns[i][valid].numpy()
        augmented = np.vstack([x, np.sqrt(ridge) * np.eye(x.shape[1])])
        weights, *_ = np.linalg.lstsq(augmented, np.concatenate([y, np.zeros(x.shape[1])]), rcond=None)
        np.testing.assert_allclose(values[i][valid].numpy(), x @ weights, rtol=1e-5, atol=1e-6)


def test_baseline_of_many_features_on_two_threads() -> None:
    """An ant's 254 features: there torch's batched solve hangs, or fails, on more than one thread."""
    program = """
import torch
from metarl.rl.baselines.linear_features import LinearFeatures

torch.set_num_threads(2)
observations = torch.randn(2, 40, 10, 125, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
returns = 3.0 * observations[..., 0] + 1.0
values = LinearFeatures().build()(observations, returns, torch.ones(2, 40, 10, dtype=torch.float64))
assert torch.get_num_threads() == 2
assert (values - returns).abs().max() <= 1e-4  # `torch.testing` would take a third of the time
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # in a process: one that hangs can be ended


def test_the_mean_over_time_is_that_of_the_episodes_that_last() -> None:
    observations, returns, mask = data()
    values = TimeMean().build()(observations, returns, mask)
    for i in range(M):
        for t in range(T):
            lasting = [e for e in range(E) if mask[i, t, e]]
            for e in lasting:
                expected = sum(returns[i, t, other].item() for other in lasting) / len(lasting)
                assert values[i, t, e].item() == pytest.approx(expected, rel=1e-12)


def test_no_baseline_expects_nothing() -> None:
    observations, returns, mask = data()
    assert torch.equal(Zero().build()(observations, returns, mask), torch.zeros(M, T, E, dtype=torch.float64))


@pytest.mark.parametrize("ridge", [0.0, -1.0])
def test_a_ridge_that_is_not_positive_is_refused(ridge: float) -> None:
    with pytest.raises(ValueError, match="ridge must be a positive number"):
        LinearFeatures(ridge=ridge)
