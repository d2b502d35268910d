import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import generator
from torch import Tensor

from metarl.rl.advantages import (
    RIDGE,
    baseline_features,
    discounted_sums,
    fit_baseline,
    generalized_advantages,
    normalize,
    policy_batch,
)
from metarl.rl.episodes import Episodes

M, T, E = 3, 6, 4


def rollouts(seed: int = 0) -> Episodes:
    g = generator(seed)
    lengths = torch.randint(1, T + 1, (M, 1, E), generator=g)
    lengths[0] = T  # a task without early ends
    mask = (torch.arange(T)[None, :, None] < lengths).double()
    randn = torch.randn(M, T, E, 6, generator=g, dtype=torch.float64)
    return Episodes(
        observations=20 * randn[..., :2],
        actions=randn[..., 2:4],
        log_probs=randn[..., 4],
        rewards=randn[..., 5] * mask,
        mask=mask,
        achieved=torch.zeros(M, E),
        diverged=torch.zeros(M, E),
        nonfinite_observation=torch.zeros(M, E),
        nonfinite_reward=torch.zeros(M, E),
        nonfinite_action=torch.zeros(M, E),
    )


def lengths(episodes: Episodes, task: int, episode: int) -> int:
    return int(episodes.mask[task, :, episode].sum())


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.99, 1.0), (0.9, 0.7), (1.0, 0.0)])
def test_gae_equals_a_double_loop(discount: float, gae_lambda: float) -> None:
    episodes = rollouts()
    values = torch.randn(M, T, E, generator=generator(5), dtype=torch.float64) * episodes.mask
    actual = generalized_advantages(episodes.rewards, values, discount=discount, gae_lambda=gae_lambda)
    for i in range(M):
        for e in range(E):
            end = lengths(episodes, i, e)
            for t in range(end):
                expected = 0.0
                for step in range(t, end):
                    after = values[i, step + 1, e] if step + 1 < end else 0.0  # the end bootstraps 0
                    delta = episodes.rewards[i, step, e] + discount * after - values[i, step, e]
                    expected += (discount * gae_lambda) ** (step - t) * delta
                assert actual[i, t, e].item() == pytest.approx(float(expected), rel=1e-10, abs=1e-12)


def test_discounted_sums_equal_a_double_loop() -> None:
    values = torch.randn(2, 5, 3, generator=generator(0), dtype=torch.float64)
    expected = torch.stack(
        [sum(0.9 ** (s - t) * values[:, s] for s in range(t, 5)) for t in range(5)],  # pyright: ignore[reportArgumentType]
        dim=1,
    )
    torch.testing.assert_close(discounted_sums(values, 0.9), expected)


def test_features_are_duans() -> None:
    observations = torch.tensor([3.0, -20.0]).expand(1, 2, 1, 2)
    expected = [3.0, -10.0, 9.0, 100.0, 0.01, 0.01**2, 0.01**3, 1.0]
    assert baseline_features(observations)[0, 1, 0].tolist() == pytest.approx(expected)


def test_baseline_equals_ridge_regression_on_the_valid_timesteps_of_each_task() -> None:
    episodes = rollouts()
    returns = discounted_sums(episodes.rewards, 0.99)
    values = fit_baseline(episodes.observations, returns, episodes.mask)
    features = baseline_features(episodes.observations)
    for i in range(M):
        valid = episodes.mask[i].bool()
        x, y = features[i][valid].numpy(), returns[i][valid].numpy()
        augmented = np.vstack([x, np.sqrt(RIDGE) * np.eye(x.shape[1])])
        weights, *_ = np.linalg.lstsq(augmented, np.concatenate([y, np.zeros(x.shape[1])]), rcond=None)
        np.testing.assert_allclose(values[i][valid].numpy(), x @ weights, rtol=1e-5, atol=1e-6)
        assert (values[i][~valid] == 0).all()


def test_baseline_of_many_features_on_two_threads() -> None:
    """An ant's 254 features: there torch's batched solve hangs, or fails, on more than one thread."""
    program = """
import torch
from metarl.rl.advantages import fit_baseline

torch.set_num_threads(2)
observations = torch.randn(2, 40, 10, 125, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
returns = 3.0 * observations[..., 0] + 1.0
values = fit_baseline(observations, returns, torch.ones(2, 40, 10, dtype=torch.float64))
assert torch.get_num_threads() == 2
torch.testing.assert_close(values, returns, rtol=0, atol=1e-4)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)  # in a process: one that hangs can be ended


def test_normalisation_is_per_task_over_valid_timesteps() -> None:
    episodes = rollouts()
    raw = 5 + 3 * torch.randn(M, T, E, generator=generator(1), dtype=torch.float64)
    actual = normalize(raw, episodes.mask)
    for i in range(M):
        valid = episodes.mask[i].bool()
        values = raw[i][valid]
        torch.testing.assert_close(actual[i][valid], (values - values.mean()) / (values.std(unbiased=False) + 1e-8))
        assert (actual[i][~valid] == 0).all()


def test_the_whole_way_from_rewards_to_advantages_equals_a_loop() -> None:
    """Discounted returns, ridge regression, GAE and normalisation, task by task in NumPy."""
    discount, gae_lambda, episodes = 0.9, 0.7, rollouts()
    actual = policy_batch(episodes, discount=discount, gae_lambda=gae_lambda)
    for i in range(M):
        rewards, mask = episodes.rewards[i].numpy(), episodes.mask[i].numpy() > 0
        returns = np.zeros((T + 1, E))
        for t in reversed(range(T)):
            returns[t] = rewards[t] + discount * returns[t + 1]
        features = baseline_features(episodes.observations)[i].numpy()
        x, y = features[mask], returns[:T][mask]
        augmented = np.vstack([x, np.sqrt(RIDGE) * np.eye(x.shape[1])])
        weights = np.linalg.lstsq(augmented, np.concatenate([y, np.zeros(x.shape[1])]), rcond=None)[0]
        values = np.vstack([features @ weights * mask, np.zeros(E)])
        advantages = np.zeros((T + 1, E))
        for t in reversed(range(T)):
            delta = rewards[t] + discount * values[t + 1] - values[t]
            advantages[t] = (delta + discount * gae_lambda * advantages[t + 1]) * mask[t]
        valid = advantages[:T][mask]
        expected = (valid - valid.mean()) / (valid.std() + 1e-8)
        np.testing.assert_allclose(actual.advantages[i].numpy()[mask], expected, rtol=1e-5, atol=1e-6)


def test_masked_timesteps_have_no_influence_on_the_batch() -> None:
    episodes = rollouts()
    ended = episodes.mask == 0
    soiled = episodes._replace(observations=episodes.observations.masked_fill(ended[..., None], 9.0))
    clean, other = (policy_batch(one, discount=0.99, gae_lambda=1.0) for one in (episodes, soiled))
    torch.testing.assert_close(other.advantages, clean.advantages, rtol=1e-10, atol=1e-12)


def test_a_task_without_spread_has_zero_advantages() -> None:
    """Equal rewards everywhere: nothing to learn, and no division by zero."""
    episodes = rollouts()
    flat = episodes._replace(rewards=torch.zeros_like(episodes.rewards))
    batch = policy_batch(flat, discount=0.99, gae_lambda=1.0)
    assert torch.equal(batch.advantages, torch.zeros_like(batch.advantages))


def test_float32_rollouts_are_processed_in_float64() -> None:
    episodes = rollouts()
    single = Episodes(*(field.float() for field in episodes))
    batch = policy_batch(single, discount=0.99, gae_lambda=1.0)
    reference: Tensor = policy_batch(
        Episodes(*(field.double() for field in single)), discount=0.99, gae_lambda=1.0
    ).advantages
    assert batch.advantages.dtype == torch.float32
    torch.testing.assert_close(batch.advantages, reference.float(), rtol=1e-6, atol=1e-7)
