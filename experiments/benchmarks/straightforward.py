"""MAML with TRPO in a straightforward way: a Python loop over tasks, double backward, products from a kept graph.

This is the reference of the `iteration` benchmark. Sampler, advantages, losses and conjugate gradient are metarl's, one
task at a time; adaptation, gradient, products and line search use torch.autograd. `options` has the options of a
configuration as attributes.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.engine.solvers import backtracking_line_search, conjugate_gradient
from metarl.randomness import Purpose
from metarl.rl.advantages import policy_batch
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.distributions import DiagonalGaussian
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import likelihood_ratio, mean_kl, policy_gradient
from metarl.rl.sampler import rollout


class Task(NamedTuple):
    """The data of one task's rollouts."""

    support: PolicyBatch  # [T, E, ...]
    query: PolicyBatch
    old: DiagonalGaussian  # outputs of the adapted policy on the query


def collect(
    options: Any, env: VectorEnv, policy: Model, theta: Params, rows: NDArray[np.float64], key: int
) -> list[Task]:
    """Roll out, adapt and roll out again for one task after the other. `env` has the episodes of one task."""
    return [_collect(options, env, policy, theta, rows[i : i + 1], (key, i)) for i in range(len(rows))]


def _collect(
    options: Any, env: VectorEnv, policy: Model, theta: Params, row: NDArray[np.float64], key: tuple[int, int]
) -> Task:
    def sample(params: Params, step: int) -> PolicyBatch:
        stacked = {name: leaf.detach()[None] for name, leaf in params.items()}
        keys = (options.seed, Purpose.TRAINING_ROLLOUTS, key[0], step)
        episodes = rollout(env, policy, stacked, row, horizon=options.horizon, key=keys, first_task=key[1])
        batch = policy_batch(
            episodes, LinearFeatures().build(), discount=options.discount, gae_lambda=options.gae_lambda
        )
        return PolicyBatch(*(field[0] for field in batch))

    support = sample(theta, 0)
    adapted = _adapt(options, policy, _leaves(theta), support)
    query = sample(adapted, 1)
    old = policy.apply(adapted, query.observations)
    return Task(support, query, DiagonalGaussian(*(field.detach() for field in old)))


def outer_step(options: Any, policy: Model, theta: Params, tasks: list[Task]) -> Params:
    """One step of TRPO on the mean over tasks."""

    def loss_and_kl(params: Params, create_graph: bool) -> tuple[Tensor, Tensor]:
        losses: list[Tensor] = []
        divergences: list[Tensor] = []
        for task in tasks:
            adapted = _adapt(options, policy, params, task.support, create_graph=create_graph)
            new = policy.apply(adapted, task.query.observations)
            losses.append(likelihood_ratio(new, task.query))
            divergences.append(mean_kl(task.old, new, task.query))
        return torch.stack(losses).mean(), torch.stack(divergences).mean()

    leaves = _leaves(theta)
    loss, kl = loss_and_kl(leaves, create_graph=True)
    gradient = _flat(torch.autograd.grad(loss, list(leaves.values()), retain_graph=True))
    kl_gradient = _flat(torch.autograd.grad(kl, list(leaves.values()), create_graph=True))

    def product(v: Tensor) -> Tensor:
        return _flat(torch.autograd.grad(kl_gradient.dot(v), list(leaves.values()), retain_graph=True))

    step = conjugate_gradient(product, gradient, iterations=options.cg_iterations, damping=options.cg_damping).x
    length = (2 * options.max_kl / step.dot(product(step))).sqrt()

    def moved(scale: float) -> Params:
        result = {}
        start = 0
        for name, leaf in theta.items():
            part = step[start : start + leaf.numel()].reshape(leaf.shape)
            result[name] = leaf - scale * length * part
            start = start + leaf.numel()
        return result

    def evaluate(scale: float) -> tuple[float, float]:
        new_loss, new_kl = loss_and_kl(_leaves(moved(scale)), create_graph=False)
        return new_loss.item(), new_kl.item()

    return moved(backtracking_line_search(evaluate, loss.item(), max_divergence=options.max_kl).scale)


def _adapt(options: Any, policy: Model, params: Params, batch: PolicyBatch, *, create_graph: bool = False) -> Params:
    loss = policy_gradient(policy.apply(params, batch.observations), batch)
    gradients = torch.autograd.grad(loss, list(params.values()), create_graph=create_graph)
    return {n: leaf - options.inner_step_size * g for (n, leaf), g in zip(params.items(), gradients, strict=True)}


def _leaves(params: Params) -> Params:
    return {name: leaf.detach().clone().requires_grad_() for name, leaf in params.items()}


def _flat(leaves: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([leaf.flatten() for leaf in leaves])
