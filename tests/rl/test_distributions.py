import math

import pytest
import torch
from conftest import generator
from torch import Tensor
from torch.distributions import Categorical as Reference
from torch.distributions import Independent, Normal, kl_divergence
from torch.func import grad

from metarl.rl.distributions import IMPOSSIBLE, Categorical, DiagonalGaussian


def gaussian(seed: int) -> DiagonalGaussian:
    g = generator(seed)
    return DiagonalGaussian(*(torch.randn(5, 3, generator=g, dtype=torch.float64) for _ in range(2)))


def normal(ours: DiagonalGaussian) -> Independent:
    return Independent(Normal(ours.mean, ours.log_std.exp()), 1)


def logits(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_gaussian_log_prob_and_kl_equal_torch_distributions() -> None:
    one, other = gaussian(0), gaussian(1)
    actions = torch.randn(5, 3, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(one.log_prob(actions), normal(one).log_prob(actions), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.kl(other), kl_divergence(normal(one), normal(other)), rtol=1e-12, atol=1e-12)
    assert one.log_prob(actions).shape == one.kl(other).shape == (5,)  # summed over actions, not averaged


def test_gaussian_kl_and_its_gradient_are_exactly_zero_at_the_same_distribution() -> None:
    old = DiagonalGaussian(*(field.float() for field in gaussian(0)))
    gradient = grad(lambda new: old.kl(new).sum())(old)
    assert torch.equal(old.kl(old), torch.zeros(5))
    assert all(torch.equal(field, torch.zeros_like(field)) for field in gradient)


def test_gaussian_sample_is_mean_plus_scaled_noise() -> None:
    one, noise = gaussian(0), torch.full((5, 3), 2.0, dtype=torch.float64)
    torch.testing.assert_close(one.sample(noise), one.mean + 2 * one.log_std.exp())
    assert torch.equal(one.mode, one.mean)
    torch.testing.assert_close(one.spread()["std"], one.log_std.exp())


def test_categorical_log_prob_kl_and_entropy_equal_torch_distributions() -> None:
    one, other = Categorical(logits(0, 5, 2, 4)), Categorical(logits(1, 5, 2, 4))
    actions = torch.randint(4, (5, 2), generator=generator(2))
    reference = [Independent(Reference(logits=dist.logits), 1) for dist in (one, other)]
    expected = reference[0].log_prob(actions)
    torch.testing.assert_close(one.log_prob(actions.double()), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.kl(other), kl_divergence(*reference), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(one.spread()["entropy"], reference[0].entropy(), rtol=1e-12, atol=1e-12)
    assert one.mode.tolist() == one.logits.argmax(-1).tolist()


def test_categorical_kl_and_its_gradient_are_zero_at_the_same_distribution() -> None:
    old = Categorical(logits(0, 5, 2, 4))
    gradient = grad(lambda new: old.kl(new).sum())(old)
    assert torch.equal(old.kl(old), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(gradient.logits, torch.zeros_like(old.logits), rtol=0, atol=1e-14)


def test_categories_are_drawn_as_often_as_they_are_probable() -> None:
    one = Categorical(torch.tensor([[0.1, 0.2, 0.7], [0.6, 0.4, 0.0]]).log().clamp(min=IMPOSSIBLE))
    noise = torch.randn(100_000, 2, generator=generator(0))
    drawn = Categorical(one.logits.expand(100_000, 2, 3)).sample(noise)
    counts = torch.stack([(drawn == k).float().mean(0) for k in range(3)], -1)
    torch.testing.assert_close(counts, one.logits.exp(), rtol=0, atol=6e-3)  # four standard errors
    assert counts[1, 2] == 0


@pytest.mark.parametrize("extreme", [-40.0, -5.6, 5.6, 40.0])
@pytest.mark.parametrize("padded", [0, 2])
def test_however_extreme_the_noise_a_category_that_exists_is_drawn(extreme: float, padded: int) -> None:
    values = torch.cat([logits(0, 7, 1, 5).float(), torch.full((7, 1, padded), IMPOSSIBLE)], -1)
    drawn = Categorical(values).sample(torch.full((7, 1), extreme))
    assert drawn.tolist() == [[0.0 if extreme < 0 else 4.0]] * 7


def test_categories_that_do_not_exist_change_nothing() -> None:
    plain = [Categorical(logits(seed, 5, 1, 3)) for seed in (0, 1)]
    padding = torch.full((5, 1, 2), IMPOSSIBLE, dtype=torch.float64)
    padded = [Categorical(torch.cat([one.logits, padding], -1)) for one in plain]
    actions, noise = torch.tensor([[0.0], [1.0], [2.0], [0.0], [1.0]]), logits(2, 5, 1)
    torch.testing.assert_close(padded[0].log_prob(actions), plain[0].log_prob(actions), rtol=1e-14, atol=0)
    torch.testing.assert_close(padded[0].kl(padded[1]), plain[0].kl(plain[1]), rtol=1e-14, atol=0)
    torch.testing.assert_close(padded[0].spread(), plain[0].spread(), rtol=1e-14, atol=0)
    assert torch.equal(padded[0].sample(noise), plain[0].sample(noise))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_gives_actions_that_are_not(bad: float) -> None:
    values = logits(0, 2, 1, 3)
    values[1, 0, 1] = bad
    drawn = Categorical(values).sample(torch.zeros(2, 1, dtype=torch.float64))
    assert drawn.isfinite().tolist() == [[True], [False]]
