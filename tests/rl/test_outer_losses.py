"""E-MAML's exploration term: against loops over episodes, and that it learns what to try."""

from typing import Any

import pytest
import torch
from built_from_config import meta_rl
from conftest import TASKS, gaussian_mlp, parameters, policy_data, policy_objective
from oracles import task

from metarl.engine.maml import AdaptedTask
from metarl.engine.params import Params, ravel
from metarl.experiments.presets.configuration import preset_config
from metarl.rl.losses import likelihood_ratio
from metarl.rl.outer_losses import OUTER_LOSSES
from metarl.rl.outer_losses.e_maml import EMAML, deviation, exploration
from metarl.training.tree import with_options

POLICY = gaussian_mlp(2, 2, hidden_sizes=(4,), activation="tanh")


def returns_of(batch: Any) -> list[float]:
    """Of the episodes that have timesteps."""
    return [batch.rewards[:, e].sum().item() for e in range(batch.mask.shape[1]) if batch.mask[:, e].any()]


def test_the_registered_outer_losses() -> None:
    assert set(OUTER_LOSSES.names) >= {"surrogate", "e_maml"}


@pytest.mark.parametrize("inner_steps", [0, 1, 2])
@pytest.mark.parametrize("weight", [1.0, 4.0])
def test_e_maml_equals_a_loop_over_tasks_and_episodes(inner_steps: int, weight: float) -> None:
    """By torch.autograd, in float64; the behaviour's log-probabilities are random, so that ratios are not 1."""
    theta = parameters(POLICY)
    objective = policy_objective(POLICY, theta, inner_steps=inner_steps, outer_loss=EMAML(exploration=weight).build())
    loss, gradient = objective.loss_and_gradient(theta)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}

    def surrogate(params: Params, batch: Any, weights: torch.Tensor) -> torch.Tensor:
        log_probs = POLICY.apply(params, batch.observations).log_prob(batch.actions)
        return -((log_probs - batch.log_probs).exp() * weights * batch.mask).sum() / batch.mask.sum()

    total = torch.zeros((), dtype=torch.float64)
    for i in range(TASKS):
        adapted, terms = leaves, torch.zeros((), dtype=torch.float64)
        support, query = [task(batch, i) for batch in objective.support], task(objective.query, i)
        after = returns_of(query)
        for batch in support:
            weights = torch.zeros_like(batch.mask)
            for e in range(batch.mask.shape[1]):
                others = [batch.rewards[:, o].sum().item() for o in range(batch.mask.shape[1]) if o != e]
                weights[:, e] = sum(after) / len(after) - sum(others) / len(others)
            terms = terms + surrogate(adapted, batch, weights)
            inner = objective.learner.inner_loss(adapted, batch)
            steps = torch.autograd.grad(inner, list(adapted.values()), create_graph=True)
            adapted = {name: leaf - 0.1 * g for (name, leaf), g in zip(adapted.items(), steps, strict=True)}
        everything = torch.tensor([value for batch in (*support, query) for value in returns_of(batch)])
        spread = everything.double().std(correction=0) + 1e-8
        total = total + surrogate(adapted, query, query.advantages) + weight * terms / spread
    expected = torch.autograd.grad(total / TASKS, list(leaves.values()))
    assert loss == pytest.approx(total.item() / TASKS, rel=1e-6)
    for name, other in zip(theta, expected, strict=True):
        torch.testing.assert_close(gradient[name], other, rtol=1e-5, atol=1e-7, msg=name)


def adapted_task(support: Any, query: Any) -> AdaptedTask:
    theta = parameters(POLICY)
    return AdaptedTask(theta, theta, (support,), query, POLICY.apply(theta, query.observations), (theta,))


def test_episodes_that_do_not_count_are_no_episodes() -> None:
    """Their mask is 0: the same without them."""
    support, query = task(policy_data(0), 0), task(policy_data(1), 0)

    def act(params: Params, batch: Any) -> Any:
        return POLICY.apply(params, batch.observations)

    found = []
    for kept in (True, False):
        batches = []
        for batch in (support, query):
            silent = batch._replace(mask=batch.mask.clone(), rewards=batch.rewards.clone())
            silent.mask[:, 1], silent.rewards[:, 1] = 0, 0
            batches.append(silent if kept else type(batch)(*(field[:, [0, 2, 3]] for field in silent)))
        one = adapted_task(*batches)
        found.append(torch.stack([exploration(one, likelihood_ratio, act), deviation(one)]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-14)


def test_equal_returns_explore_nothing() -> None:
    theta, weights = parameters(POLICY), []
    objective = policy_objective(POLICY, theta, outer_loss=EMAML(exploration=5.0).build())
    plain = policy_objective(POLICY, theta)
    for one in (objective, plain):
        one.query = one.query._replace(rewards=torch.zeros_like(one.query.rewards))
        one.support = (one.support[0]._replace(rewards=torch.zeros_like(one.support[0].rewards)),)
        weights.append(one.loss_and_gradient(theta)[0])
    assert weights[0] == weights[1]


def test_the_weight_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"exploration must be a positive number; got 0.0"):
        EMAML(exploration=0.0)


def test_the_option_reaches_the_outer_step() -> None:
    """On the same rollouts: another gradient, and under PPO's clipped loss, too."""
    sizes = {"tasks": 2, "episodes": 4, "horizon": 5, "hidden_sizes": (4,)}
    found: dict[str, list[torch.Tensor]] = {}
    for name in OUTER_LOSSES.names:
        maml = meta_rl(with_options(preset_config("navigation"), sizes | {"outer_loss": name}))
        theta = maml.initial_parameters(0)
        objective, _ = maml.collect(theta, 0)
        clipped = objective.with_outer_loss(objective.clipped(0.2))
        found[name] = [ravel(one.loss_and_gradient(theta)[1]) for one in (objective, clipped)]
        # at theta nothing is clipped
        torch.testing.assert_close(*found[name], rtol=1e-4, atol=1e-6)
    for plain, explored in zip(found["surrogate"], found["e_maml"], strict=True):
        assert (plain - explored).norm() > 0.01 * plain.norm()
