from typing import Any

import numpy as np
import pytest
import torch
from conftest import generator
from torch import Tensor
from torch.utils._pytree import tree_map

from metarl.rl.advantages import discounted_sums, generalized_advantages, normalize, policy_batch
from metarl.rl.baselines.linear_features import LinearFeatures, features
from metarl.rl.episodes import BREAKS, Episodes

M, T, E = 3, 6, 4
BASELINE = LinearFeatures().build()
GAE = {"discount": 0.99, "gae_lambda": 1.0}


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
        success=torch.zeros(M, E),
        reward_terms={},
        breaks={reason: torch.zeros(M, E) for reason in BREAKS},
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


def test_normalisation_is_per_task_over_valid_timesteps() -> None:
    episodes = rollouts()
    raw = 5 + 3 * torch.randn(M, T, E, generator=generator(1), dtype=torch.float64)
    actual = normalize(raw, episodes.mask)
    for i in range(M):
        valid = episodes.mask[i].bool()
        values = raw[i][valid]
        torch.testing.assert_close(actual[i][valid], (values - values.mean()) / (values.std(unbiased=False) + 1e-8))
        assert (actual[i][~valid] == 0).all()


def test_advantages_that_hardly_differ_are_not_blown_up() -> None:
    hardly = torch.tensor([[[1e-8], [-1e-8]]], dtype=torch.float64)  # their deviation is what is added to it
    torch.testing.assert_close(normalize(hardly, torch.ones_like(hardly)), hardly / 2e-8)


def test_the_whole_way_from_rewards_to_advantages_equals_a_loop() -> None:
    """Discounted returns, ridge regression, GAE and normalisation, task by task in NumPy."""
    discount, gae_lambda, episodes = 0.9, 0.7, rollouts()
    actual = policy_batch(episodes, BASELINE, discount=discount, gae_lambda=gae_lambda)
    for i in range(M):
        rewards, mask = episodes.rewards[i].numpy(), episodes.mask[i].numpy() > 0
        returns = np.zeros((T + 1, E))
        for t in reversed(range(T)):
            returns[t] = rewards[t] + discount * returns[t + 1]
        inputs = features(episodes.observations)[i].numpy()
        x, y = inputs[mask], returns[:T][mask]
        augmented = np.vstack([x, np.sqrt(1e-5) * np.eye(x.shape[1])])
        weights = np.linalg.lstsq(augmented, np.concatenate([y, np.zeros(x.shape[1])]), rcond=None)[0]
        values = np.vstack([inputs @ weights * mask, np.zeros(E)])
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
    clean, other = (policy_batch(one, BASELINE, discount=0.99, gae_lambda=1.0) for one in (episodes, soiled))
    torch.testing.assert_close(other.advantages, clean.advantages, rtol=1e-10, atol=1e-12)


def test_a_task_without_spread_has_zero_advantages() -> None:
    """Equal rewards everywhere: nothing to learn, and no division by zero."""
    episodes = rollouts()
    flat = episodes._replace(rewards=torch.zeros_like(episodes.rewards))
    batch = policy_batch(flat, BASELINE, discount=0.99, gae_lambda=1.0)
    assert torch.equal(batch.advantages, torch.zeros_like(batch.advantages))


def test_float32_rollouts_are_processed_in_float64() -> None:
    episodes = rollouts()
    single = tree_map(Tensor.float, episodes)
    batch = policy_batch(single, BASELINE, discount=0.99, gae_lambda=1.0)
    reference: Tensor = policy_batch(
        tree_map(Tensor.double, single), BASELINE, discount=0.99, gae_lambda=1.0
    ).advantages
    assert batch.advantages.dtype == torch.float32
    torch.testing.assert_close(batch.advantages, reference.float(), rtol=1e-6, atol=1e-7)


def test_broken_episodes_stay_out_of_everything() -> None:
    """Their rewards, their states and their ends: the batch is that of the other episodes, bitwise."""
    episodes = rollouts()
    broken = torch.zeros(M, E)
    broken[1, 2] = broken[2, 0] = 1
    whole = policy_batch(episodes._replace(breaks=episodes.breaks | {"simulation": broken}), BASELINE, **GAE)
    for i in range(M):
        kept = [e for e in range(E) if not broken[i, e]]
        part = policy_batch(tree_map(lambda leaf, i=i, kept=kept: chosen(leaf, i, kept), episodes), BASELINE, **GAE)
        torch.testing.assert_close(whole.advantages[i][:, kept], part.advantages[0], rtol=1e-9, atol=1e-9)
        assert torch.equal(whole.mask[i][:, kept], part.mask[0])
    assert whole.mask[1, :, 2].sum() == whole.mask[2, :, 0].sum() == 0
    assert whole.advantages[1, :, 2].abs().sum() == 0


def chosen(leaf: Tensor, task: int, episodes: list[int]) -> Tensor:
    """Some episodes of one task out of [M, E] or [M, T, E, ...]."""
    return leaf[task : task + 1, episodes] if leaf.dim() == 2 else leaf[task : task + 1, :, episodes]


def test_a_task_whose_episodes_all_broke_weighs_nothing() -> None:
    episodes = rollouts()
    broken = torch.zeros(M, E).index_fill(0, torch.tensor([1]), 1.0)
    batch = policy_batch(episodes._replace(breaks=episodes.breaks | {"reward": broken}), BASELINE, **GAE)
    assert batch.mask[1].sum() == batch.advantages[1].abs().sum() == 0
    assert torch.isfinite(batch.advantages).all()


def test_a_baselines_values_after_the_end_of_an_episode_do_not_count() -> None:
    """A user's baseline need not mask: the value after the last timestep is 0 all the same."""
    ours, theirs = (
        policy_batch(rollouts(), baseline, **GAE)
        for baseline in (lambda o, r, m: torch.full_like(r, 2.0) * m, lambda o, r, m: torch.full_like(r, 2.0))
    )
    assert torch.equal(ours.advantages, theirs.advantages)
    # Also where it divides by the mask; and its own gradients are its own.
    for odd in (lambda o, r, m: 2 * m / m, lambda o, r, m: torch.full_like(r, 2.0).requires_grad_()):
        batch = policy_batch(rollouts(), odd, **GAE)
        assert torch.equal(batch.advantages, ours.advantages)
        assert not batch.advantages.requires_grad


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_baseline_changes_nothing_that_it_is_given(place: int) -> None:
    """Losses would see other observations, or timesteps that were not played."""

    def changing(*given: torch.Tensor) -> torch.Tensor:
        given[place].add_(1.0)
        return torch.zeros_like(given[1])

    with pytest.raises(ValueError, match="a baseline must not change what it is given in place"):
        policy_batch(rollouts(), changing, **GAE)


@pytest.mark.parametrize(
    ("baseline", "got"), [(lambda o, r, m: r.mean(2), r"\[3, 6\]"), (lambda o, r, m: 0.0, "float")]
)
def test_a_baseline_of_another_shape_is_refused(baseline: Any, got: str) -> None:
    with pytest.raises(ValueError, match=rf"a baseline must give values \[M, T, E\], here \[3, 6, 4\]; got {got}"):
        policy_batch(rollouts(), baseline, **GAE)
