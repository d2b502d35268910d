"""Bias and variance of estimators against exact derivatives, on tabular processes with softmax policies.

Expectations are sums over every trajectory, so that what is unbiased is exact to rounding; exact returns are dynamic
programming's, differentiated.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from oracles import values_of
from torch import Tensor
from torch.func import grad, hessian, jacrev

from metarl.engine.params import Params
from metarl.experiments.benchmarks.estimators import Moments, moments, outer_moments, return_after_sampled_step
from metarl.experiments.benchmarks.tabular_processes import (
    LOGITS,
    Process,
    Trajectories,
    act,
    all_trajectories,
    batch_of,
    expected_return,
    log_probabilities,
    random_process,
    values,
)
from metarl.rl.inner_losses import INNER_LOSSES

SIZES = [(2, 2, 3), (3, 2, 2), (2, 3, 2)]  # states, actions, timesteps
BASELINES: dict[str, Callable[[Process, Params], Tensor | float]] = {
    "none": lambda process, policy: 0.0,
    "value": values,
    "arbitrary": lambda process, policy: torch.arange(
        process.horizon * len(process.start), dtype=torch.float64
    ).reshape(process.horizon, -1),
}


@pytest.fixture(params=SIZES, ids=str)
def world(request: pytest.FixtureRequest) -> tuple[Process, Params]:
    return random_process(*request.param, seed=3)


@pytest.fixture(params=BASELINES)
def baseline(request: pytest.FixtureRequest) -> Callable[[Process, Params], Tensor | float]:
    return BASELINES[request.param]


def score(process: Process) -> Callable[[Tensor], Tensor]:
    """Logits [S, A] -> the expected return."""
    return lambda logits: values_of(*process, logits.softmax(-1))[0]


def exact_hessian(process: Process, policy: Params) -> Tensor:
    return hessian(score(process))(policy[LOGITS]).flatten()


def moments_of(name: str, process: Process, policy: Params, derivative: Any, baseline: Tensor | float) -> Moments:
    return moments(process, policy, INNER_LOSSES.find(name)().build(), derivative, baseline)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def cross_terms(process: Process, policy: Params) -> Tensor:
    """Sum over t of E[grad log pi(a_t|s_t) grad Q_t(s_t, a_t)^T], and its transpose (Rothfuss et al. 2019, H12)."""
    logits = policy[LOGITS]
    chosen, size = logits.softmax(-1), logits.numel()
    scores = jacrev(lambda moved: moved.log_softmax(-1))(logits).reshape(*logits.shape, size)
    visits, total = process.start, torch.zeros(size, size, dtype=torch.float64)
    for t in range(process.horizon):
        gradients = jacrev(lambda moved, t=t: values_of(*process, moved.softmax(-1))[1][t])(logits)
        total = total + torch.einsum("s,sa,sap,saq->pq", visits, chosen, scores, gradients.reshape(scores.shape))
        visits = torch.einsum("s,sa,sax->x", visits, chosen, process.moves)
    return (total + total.T).flatten()


def test_enumeration_is_dynamic_programming(world: tuple[Process, Params]) -> None:
    process, policy = world
    for derivative in (lambda function: function, grad, hessian):
        enumerated = derivative(lambda logits: expected_return(process, {LOGITS: logits}))(policy[LOGITS])
        assert_equal(enumerated, derivative(score(process))(policy[LOGITS]))
    assert log_probabilities(process, policy, all_trajectories(process)).exp().sum().item() == pytest.approx(1)
    chosen = policy[LOGITS].softmax(-1)
    of_actions = values_of(*process, chosen)[1]
    assert_equal(values(process, policy), torch.stack([(chosen * one).sum(-1) for one in of_actions]))


@pytest.mark.parametrize("name", INNER_LOSSES.names)
def test_every_inner_loss_has_the_gradient_of_the_return(
    name: str, world: tuple[Process, Params], baseline: Callable[[Process, Params], Tensor | float]
) -> None:
    process, policy = world
    found = moments_of(name, process, policy, grad, baseline(process, policy))
    assert_equal(found.mean, grad(score(process))(policy[LOGITS]).flatten())


def test_the_hessian_of_dice_is_that_of_the_return(
    world: tuple[Process, Params], baseline: Callable[[Process, Params], Tensor | float]
) -> None:
    process, policy = world
    found = moments_of("dice", process, policy, hessian, baseline(process, policy))
    assert_equal(found.mean, exact_hessian(process, policy))


def test_the_likelihood_ratios_hessian_lacks_the_cross_terms_alone(
    world: tuple[Process, Params], baseline: Callable[[Process, Params], Tensor | float]
) -> None:
    process, policy = world
    found, exact = (
        moments_of("likelihood_ratio", process, policy, hessian, baseline(process, policy)),
        exact_hessian(*world),
    )
    missing = cross_terms(process, policy)
    assert missing.norm() > 0.05 * exact.norm()
    assert_equal(found.mean + missing, exact)


def test_the_log_probabilitys_hessian_lacks_the_scores_outer_products_too(world: tuple[Process, Params]) -> None:
    """Where the baseline is the value it lacks everything: a softmax has the same curvature in all actions."""
    process, policy = world
    exact = exact_hessian(process, policy)
    for name in ("none", "arbitrary"):
        found = moments_of("log_prob", process, policy, hessian, BASELINES[name](process, policy))
        assert (found.mean + cross_terms(process, policy) - exact).norm() > 0.1 * exact.norm()
    found = moments_of("log_prob", process, policy, hessian, values(process, policy))
    assert_equal(found.mean, torch.zeros_like(exact))


def test_of_one_timestep_the_likelihood_ratio_is_dice(
    baseline: Callable[[Process, Params], Tensor | float],
) -> None:
    """A bandit has no cross terms."""
    process, policy = random_process(2, 3, 1, seed=5)
    one, other = (
        moments_of(name, process, policy, hessian, baseline(process, policy)) for name in ("likelihood_ratio", "dice")
    )
    assert_equal(one.mean, other.mean)
    assert_equal(one.mean, exact_hessian(process, policy))
    assert one.variance == pytest.approx(other.variance)


@pytest.mark.parametrize("name", ["none", "value"])
def test_the_likelihood_ratios_hessian_has_less_variance_than_that_of_dice(name: str) -> None:
    """What it gives up the cross terms for."""
    for seed in range(5):
        process, policy = random_process(2, 2, 3, seed=seed)
        found = BASELINES[name](process, policy)
        one, other = (
            moments_of(loss, process, policy, hessian, found).variance for loss in ("likelihood_ratio", "dice")
        )
        assert one < 0.5 * other


def sampled(process: Process, policy: Params, count: int, *, seed: int) -> Trajectories:
    """Timestep by timestep, without enumeration."""
    generator = torch.Generator().manual_seed(seed)

    def draw(probabilities: Tensor) -> Tensor:
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    states, actions = [draw(process.start.expand(count, -1))], []
    for _ in range(process.horizon):
        actions.append(draw(policy[LOGITS].softmax(-1)[states[-1]]))
        states.append(draw(process.moves[states[-1], actions[-1]]))
    return Trajectories(torch.stack(states[:-1]), torch.stack(actions))


@pytest.mark.parametrize("derivative", [grad, hessian])
@pytest.mark.parametrize("name", INNER_LOSSES.names)
def test_batches_of_sampled_episodes_have_these_moments(name: str, derivative: Any) -> None:
    """Means over 50 batches of 400 episodes, each of them the loss's own, within five standard errors."""
    process, policy = random_process(2, 2, 3, seed=3)
    loss, baseline = INNER_LOSSES.find(name)().build(), values(process, policy)
    found = []
    for seed in range(50):
        batch = batch_of(process, policy, sampled(process, policy, 400, seed=seed), baseline)
        estimate = derivative(lambda logits, batch=batch: -process.horizon * loss(act({LOGITS: logits}, batch), batch))
        found.append(estimate(policy[LOGITS]).flatten())
    expected = moments_of(name, process, policy, derivative, baseline)
    error = (expected.variance / (50 * 400)) ** 0.5
    assert (torch.stack(found).mean(0) - expected.mean).norm() < 5 * error
    spread = torch.stack(found).var(0).sum().item()
    assert spread == pytest.approx(expected.variance / 400, rel=0.5)


@pytest.mark.parametrize("seed", [1, 2])
def test_e_maml_differentiates_through_what_is_sampled_and_the_surrogate_does_not(seed: int) -> None:
    """The return after an inner step on two sampled episodes: its gradient through the engine, and exactly."""
    process, policy = random_process(2, 2, 2, seed=seed)
    exact = grad(lambda logits: return_after_sampled_step(process, {LOGITS: logits}))(policy[LOGITS]).flatten()
    plain, explored = (outer_moments(process, policy, weight) for weight in (0.0, 2.0))
    assert_equal(explored.mean, exact)
    assert (plain.mean - exact).norm() > 0.05 * exact.norm()
    assert plain.variance < explored.variance
