import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import torch
from conftest import gaussian_mlp, generator, parameters, policy_data
from oracles import task
from torch.func import grad, hessian

from metarl.engine.model import Model
from metarl.engine.params import Params, ravel, unravel
from metarl.rl.distributions import DiagonalGaussian
from metarl.rl.episodes import masked_mean, timestep_subset
from metarl.rl.inner_losses import INNER_LOSSES
from metarl.rl.losses import clipped_likelihood_ratio, likelihood_ratio, mean_kl, policy_gradient


def test_losses_equal_a_loop_over_valid_timesteps(policy: Model) -> None:
    batch, theta = task(policy_data(0), 0), parameters(policy)
    distribution = policy.apply(theta, batch.observations)
    log_prob, kl, ratio, count = 0.0, 0.0, 0.0, 0
    other = policy.apply(parameters(policy) | {"log_std": torch.zeros(2)}, batch.observations)
    for t in range(batch.mask.shape[0]):
        for e in range(batch.mask.shape[1]):
            if batch.mask[t, e]:
                one = DiagonalGaussian(distribution.mean[t, e], distribution.log_std[t, e])
                log_pi = one.log_prob(batch.actions[t, e])
                log_prob += log_pi * batch.advantages[t, e]
                ratio += (log_pi - batch.log_probs[t, e]).exp() * batch.advantages[t, e]
                kl += one.kl(DiagonalGaussian(other.mean[t, e], other.log_std[t, e]))
                count += 1
    torch.testing.assert_close(policy_gradient(distribution, batch), torch.as_tensor(-log_prob / count))
    torch.testing.assert_close(likelihood_ratio(distribution, batch), torch.as_tensor(-ratio / count))
    torch.testing.assert_close(mean_kl(distribution, other, batch), torch.as_tensor(kl / count))


def test_timesteps_weigh_the_same_whatever_episode_they_are_in() -> None:
    values, mask = torch.tensor([[1.0, 5.0], [2.0, 9.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert masked_mean(values, mask).item() == pytest.approx(8 / 3)  # not the mean of the episodes' means, 3.25


def test_inner_losses_share_the_gradient_at_the_behaviour_policy_but_not_the_hessian() -> None:
    """Which of the Hessians is that of the expected return: see test_estimators.py."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(3,), activation="tanh")
    theta = parameters(policy)
    batch = task(policy_data(0), 0)
    batch = batch._replace(log_probs=policy.apply(theta, batch.observations).log_prob(batch.actions).detach())
    gradients, hessians = {}, {}
    for name in ("log_prob", "likelihood_ratio", "dice"):
        loss = INNER_LOSSES.find(name)().build()

        def objective(vector: torch.Tensor, loss: Callable = loss) -> torch.Tensor:
            params: Params = unravel(vector, theta)
            return loss(policy.apply(params, batch.observations), batch)

        gradients[name], hessians[name] = grad(objective)(ravel(theta)), hessian(objective)(ravel(theta))
    for one, other in itertools.combinations(gradients, 2):
        torch.testing.assert_close(gradients[one], gradients[other], rtol=1e-11, atol=1e-12)
        assert (hessians[one] - hessians[other]).norm() > 0.1 * hessians[one].norm()


def test_subsets_are_evenly_spread_timesteps() -> None:
    batch = task(policy_data(0, horizon=10), 0)
    time, episode = torch.meshgrid(torch.arange(10), torch.arange(4), indexing="ij")
    stamped = batch._replace(observations=torch.stack([time, episode], -1), advantages=(10 * episode + time).double())
    for fraction, per_episode in ((0.1, 1), (0.2, 2), (0.4, 4), (1.0, 10)):
        part = timestep_subset(stamped, fraction)
        assert part.observations.shape == (4 * per_episode, 1, 2)
        t, e = part.observations[:, 0].unbind(-1)
        assert torch.equal(part.advantages[:, 0], (10 * e + t).double())
        assert torch.equal(part.mask[:, 0], batch.mask[t, e])
        for one in range(4):  # every episode from another timestep on
            gaps = t[e == one].sort().values.diff().tolist()
            assert len(gaps) == per_episode - 1
            assert all(abs(gap - 1 / fraction) < 1 for gap in gaps)
    assert timestep_subset(stamped, 0.1).observations[:, 0].tolist() == [[0, 0], [7, 3], [8, 2], [9, 1]]
    with pytest.raises(ValueError, match=r"must be in \(0, 1\]; got 1.5"):
        timestep_subset(batch, 1.5)


@pytest.mark.parametrize("epsilon", [0.05, 0.2])
def test_the_clipped_loss_equals_a_loop_and_its_gradient_is_0_beyond_the_limits(epsilon: float) -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(3,), activation="tanh")
    theta, batch = parameters(policy), task(policy_data(0), 0)
    log_probs = policy.apply(theta, batch.observations).log_prob(batch.actions)
    batch = batch._replace(log_probs=log_probs + 0.5 * torch.randn(log_probs.shape, generator=generator(3)))
    total, stuck = 0.0, torch.zeros_like(batch.mask)
    for t, e in batch.mask.nonzero().tolist():
        ratio, gain = (log_probs - batch.log_probs)[t, e].exp().item(), batch.advantages[t, e].item()
        limit = min(ratio, 1 + epsilon) if gain > 0 else max(ratio, 1 - epsilon)
        total, stuck[t, e] = total + limit * gain, float(limit != ratio)
    loss = clipped_likelihood_ratio(policy.apply(theta, batch.observations), batch, epsilon=epsilon)
    assert loss.item() == pytest.approx(-total / batch.mask.sum().item())
    assert 0 < stuck.sum() < batch.mask.sum()

    def of(log_prob: torch.Tensor) -> torch.Tensor:
        return clipped_likelihood_ratio(cast(Any, Told(log_prob)), batch, epsilon=epsilon)

    gradient = grad(of)(log_probs)
    assert torch.equal(gradient == 0, (stuck > 0) | (batch.mask == 0))


class Told(NamedTuple):
    """A distribution that is told its log-probabilities."""

    log_probs: torch.Tensor

    def log_prob(self, actions: torch.Tensor) -> torch.Tensor:
        return self.log_probs


def test_a_ratio_that_overflows_at_a_masked_timestep_stays_out() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(3,), activation="tanh", initial_std=1e-3)
    theta, batch = parameters(policy), task(policy_data(0), 0)
    batch = batch._replace(mask=torch.zeros_like(batch.mask).index_fill(0, torch.tensor([0]), 1.0))
    batch = batch._replace(log_probs=torch.where(batch.mask > 0, 0.0, -1e9))

    def loss(params: Params) -> torch.Tensor:
        return likelihood_ratio(policy.apply(params, batch.observations), batch)

    gradient = grad(loss)(theta)
    assert torch.isfinite(ravel(gradient)).all()
