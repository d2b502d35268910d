"""Bias and variance of the derivatives of inner and outer losses, on processes whose trajectories are enumerated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from rich.console import Console
from torch import Tensor
from torch.func import grad, hessian, vmap

from metarl.engine.maml import AdaptedTask, Learner
from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.experiments.benchmarks.report import show
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
from metarl.rl.episodes import PolicyBatch
from metarl.rl.inner_losses import INNER_LOSSES, PolicyLoss
from metarl.rl.losses import likelihood_ratio
from metarl.rl.outer_losses.e_maml import exploration

STEP_SIZE = 0.5  # of the inner step
SIZES = ((2, 2, 2), (2, 2, 3), (3, 2, 3))  # states, actions, timesteps
EPISODES = 2  # of the sampled inner step, for outer losses


class Moments(NamedTuple):
    """The mean and the variance of an estimator that uses one trajectory."""

    mean: Tensor
    variance: float  # the trace of the covariance


def estimators(console: Console, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Measure on random processes with softmax policies, by sums over all trajectories, without sampling error.

    `process` is states x actions x timesteps. Biases are |mean - exact| / |exact|; deviations are the root of the trace
    of the covariance, divided by |exact|. `inner`: the gradient and the Hessian of each inner loss at the policy that
    sampled, as estimates from one trajectory of those of the expected return. `meta_bias` is the bias that the mean
    Hessian causes in the gradient of the return after one exact inner step. `outer`: the gradient of each outer loss,
    as an estimate of that of the expected return after an inner step on sampled episodes.
    """
    sizes = SIZES[:1] if quick else SIZES
    inner = [row for size in sizes for row in inner_rows(*size)]
    outer = [row for size in sizes[:1] for row in outer_rows(*size)]
    show(console, "inner losses: derivatives of the expected return", inner)
    show(console, "outer losses: gradient of the return after adaptation", outer)
    return {"inner": inner, "outer": outer}


def inner_rows(states: int, actions: int, horizon: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """A row for every inner loss, without a baseline and with the exact values as baseline."""
    process, policy = random_process(states, actions, horizon, seed=seed)
    logits = policy[LOGITS]
    size = policy[LOGITS].numel()

    def score(moved: Tensor) -> Tensor:
        return expected_return(process, {LOGITS: moved})

    gradient = grad(score)(logits)
    curvature = hessian(score)(logits).reshape(size, size)
    after = grad(score)(logits + STEP_SIZE * gradient).flatten()
    exact = after + STEP_SIZE * curvature @ after
    rows = []
    for baseline in ("none", "value"):
        for name in INNER_LOSSES.names:
            loss = INNER_LOSSES.find(name)().build()
            known = values(process, policy) if baseline == "value" else 0.0
            first, second = (moments(process, policy, loss, order, known) for order in (grad, hessian))
            made = after + STEP_SIZE * second.mean.reshape(size, size) @ after
            rows.append(
                {
                    "process": f"{states}x{actions}x{horizon}",
                    "baseline": baseline,
                    "inner_loss": name,
                    "gradient_bias": _error(first.mean, gradient.flatten()),
                    "gradient_deviation": first.variance**0.5 / gradient.norm().item(),
                    "hessian_bias": _error(second.mean, curvature.flatten()),
                    "hessian_deviation": second.variance**0.5 / curvature.norm().item(),
                    "meta_bias": _error(made, exact),
                }
            )
    return rows


def moments(
    process: Process,
    policy: Params,
    loss: PolicyLoss,
    derivative: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]],
    baseline: Tensor | float = 0.0,
) -> Moments:
    """The moments of a derivative of -horizon x loss of one trajectory; the loss is a mean over the horizon."""
    every = all_trajectories(process)
    batch = batch_of(process, policy, every, baseline)
    weights = log_probabilities(process, policy, every).exp()

    def of_one(*fields: Tensor) -> Tensor:
        alone = PolicyBatch(*(field[:, None] for field in fields))
        estimate = derivative(lambda logits: -process.horizon * loss(act({LOGITS: logits}, alone), alone))
        return estimate(policy[LOGITS]).flatten()

    found = vmap(of_one, in_dims=1)(*batch)  # [N, P] or [N, P^2]
    mean = weights @ found
    return Moments(mean, (weights @ (found - mean).square().sum(-1)).item())


def outer_rows(states: int, actions: int, horizon: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """A row for MAML's surrogate, and one for the surrogate with E-MAML's exploration term as a sum over episodes."""
    process, policy = random_process(states, actions, horizon, seed=seed)
    exact = grad(lambda logits: return_after_sampled_step(process, {LOGITS: logits}))(policy[LOGITS]).flatten()
    rows = []
    for name, weight in (("surrogate", 0.0), ("e_maml", float(EPISODES))):
        found = outer_moments(process, policy, weight)
        deviation = found.variance**0.5 / exact.norm().item()
        row = {"process": f"{states}x{actions}x{horizon}", "outer_loss": name}
        rows.append(row | {"bias": _error(found.mean, exact), "deviation": deviation})
    return rows


def return_after_sampled_step(process: Process, policy: Params) -> Tensor:
    """The expected return after one step of the paper's inner loss on EPISODES trajectories of the policy."""
    log_probs = log_probabilities(process, policy, all_trajectories(process))
    weights = log_probs[_supports(process)].sum(0).exp()
    supports = _support_batches(process, policy)
    adapted = vmap(lambda batch: _learner().adapt(policy, [batch])[LOGITS])(supports)
    after = vmap(lambda logits: expected_return(process, {LOGITS: logits}))(adapted)
    return weights @ after


def outer_moments(process: Process, policy: Params, weight: float) -> Moments:
    """The moments of minus one task's meta-gradient, from EPISODES trajectories before the inner step and one after."""
    every = all_trajectories(process)
    count = len(all_trajectories(process).states[0])
    supports = _support_batches(process, policy)
    learner = _learner()
    adapted = vmap(lambda batch: learner.adapt(policy, [batch])[LOGITS])(supports)
    pairs = len(adapted)
    queries = [batch_of(process, {LOGITS: logits}, every) for logits in adapted]
    # Task i N + j has support i and trajectory j as query.
    query = PolicyBatch(
        *(torch.cat([field.transpose(0, 1) for field in fields])[:, :, None] for fields in zip(*queries, strict=True))
    )
    support = PolicyBatch(*(field.repeat_interleave(count, 0) for field in supports))

    def outer_loss(task: AdaptedTask) -> Tensor:
        explored = exploration(task, likelihood_ratio, act)
        return likelihood_ratio(task.outputs, task.query) + weight * explored

    gradients, *_ = learner.task_gradients(outer_loss, policy, [support], query)
    found = -process.horizon * gradients[LOGITS].flatten(1)
    before = log_probabilities(process, policy, every)[_supports(process)].sum(0)
    after = torch.stack([log_probabilities(process, {LOGITS: logits}, every) for logits in adapted])
    weights = (before[:, None] + after).reshape(pairs * count).exp()
    mean = weights @ found
    return Moments(mean, (weights @ (found - mean).square().sum(-1)).item())


def _supports(process: Process) -> Tensor:
    """Every choice of EPISODES trajectories, in order: indices [EPISODES, N^EPISODES]."""
    count = all_trajectories(process).states.shape[1]
    return torch.cartesian_prod(*[torch.arange(count)] * EPISODES).T


def _support_batches(process: Process, policy: Params) -> PolicyBatch:
    """A task's batch for each choice of `_supports`: [N^EPISODES, T, EPISODES, ...]."""
    every = all_trajectories(process)
    chosen = _supports(process).T.flatten()
    batch = batch_of(process, policy, Trajectories(*(field[:, chosen] for field in every)))
    return PolicyBatch(*(field.unflatten(1, (-1, EPISODES)).transpose(0, 1) for field in batch))


def _learner() -> Learner:
    """A learner with the paper's inner loss as a sum over timesteps instead of a mean."""
    loss = INNER_LOSSES.find("log_prob")().build()
    return Learner(
        SGD().build([STEP_SIZE]),
        lambda params, batch: len(batch.mask) * loss(act(params, batch), batch),
        act,
    )


def _error(found: Tensor, exact: Tensor) -> float:
    return ((found - exact).norm() / exact.norm()).item()
