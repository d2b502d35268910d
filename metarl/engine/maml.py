"""Algorithm 1 of Finn et al. 2017: adapt to each task by gradient steps, differentiate through the adaptation.

The one place in metarl with an inner gradient. Sampling, outer loss, line search, evaluation, supervised and
reinforcement learning all call `adapt`. Everything here is written for ONE task; `vmap` adds the task axis M.

theta    meta-parameters                        support  K batches, one per inner step
theta'   parameters adapted to a task           query    the batch that scores theta'
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap

from metarl.engine.inner import InnerRule
from metarl.engine.params import Params, detach

Batch = Any  # a pytree of tensors that a problem defines and the engine only passes on
Loss = Callable[[Params, Batch], Tensor]  # parameters and data of one task -> scalar


def adapt(
    meta: Params,
    rule: InnerRule,
    loss: Loss,
    batches: Sequence[Batch],
    *,
    first_step: int = 0,
    first_order: bool = False,
) -> Params:
    """Theta' = U_K(... U_1(theta)): one inner step per batch, K = len(batches); K = 0 returns theta.

    Args:
        meta: parameters to start from: theta, or an already adapted theta' with `first_step` > 0.
        rule: what a gradient does to the parameters (`inner.py`).
        loss: the inner loss L(params, batch) -> scalar.
        batches: the data of each step, in order.
        first_step: index of the first of these steps in the whole adaptation (the rule's step size depends on it).
        first_order: treat the inner gradient as a constant (first-order MAML, section 5.2).

    Returns:
        The adapted parameters, differentiable with respect to `meta`.
    """
    fast, slow = rule.split(meta)
    for step, batch in enumerate(batches, start=first_step):
        gradient = grad(lambda params, data: loss(rule.merge(params, slow), data))(fast, batch)
        if first_order:
            gradient = detach(gradient)
        fast = rule.update(fast, gradient, slow, step)
    return rule.merge(fast, slow)


@torch.no_grad()
def adapt_each(stacked: Params, rule: InnerRule, loss: Loss, batch: Batch, *, step: int) -> Params:
    """Inner step number `step` of M tasks at once, each from its own parameters (leaves [M, ...]); a constant.

    What sampling and evaluation use: they need the adapted parameters alone. batch: every leaf [M, ...].
    """

    def one_task(params: Params, batch_i: Batch) -> Params:
        return adapt(params, rule, loss, [batch_i], first_step=step)

    return vmap(one_task)(stacked, batch)


def task_loss(
    meta: Params,
    rule: InnerRule,
    inner_loss: Loss,
    outer_loss: Loss,
    support: Sequence[Batch],
    query: Batch,
    *,
    first_order: bool = False,
) -> Tensor:
    """L_i(theta'_i): the outer loss of one task after adaptation, a scalar."""
    return outer_loss(adapt(meta, rule, inner_loss, support, first_order=first_order), query)


def task_mean(per_task: Tensor) -> Tensor:
    """Mean over the leading task axis, [M, ...] -> [...], summed in float64 and returned in the input's dtype."""
    return per_task.mean(0, dtype=torch.float64).to(per_task.dtype)


def meta_loss(
    meta: Params,
    rule: InnerRule,
    inner_loss: Loss,
    outer_loss: Loss,
    support: Sequence[Batch],
    query: Batch,
    *,
    first_order: bool = False,
) -> Tensor:
    """Mean over tasks of L_i(theta'_i), a scalar; every leaf of `support` and `query` has a leading M."""

    def one_task(support_i: Sequence[Batch], query_i: Batch) -> Tensor:
        return task_loss(meta, rule, inner_loss, outer_loss, support_i, query_i, first_order=first_order)

    return task_mean(vmap(one_task)(support, query))


def meta_gradient(
    meta: Params,
    rule: InnerRule,
    inner_loss: Loss,
    outer_loss: Loss,
    support: Sequence[Batch],
    query: Batch,
    *,
    first_order: bool = False,
) -> tuple[Params, Tensor]:
    """The gradient of `meta_loss` with respect to theta, and the loss itself."""
    gradients, losses = task_gradients(meta, rule, inner_loss, outer_loss, support, query, first_order=first_order)
    return {name: task_mean(leaf) for name, leaf in gradients.items()}, task_mean(losses)


def task_gradients(
    meta: Params,
    rule: InnerRule,
    inner_loss: Loss,
    outer_loss: Loss,
    support: Sequence[Batch],
    query: Batch,
    *,
    first_order: bool = False,
) -> tuple[Params, Tensor]:
    """Of each task, the gradient of `task_loss` with respect to theta (leaves [M, ...]) and the loss itself, [M].

    The gradient of each task is taken inside vmap, and averaged by the caller: the other order is wrong for
    normalisation layers with an adapted scale in torch 2.13.
    """

    def one_task(support_i: Sequence[Batch], query_i: Batch) -> tuple[Params, Tensor]:
        def loss(theta: Params) -> Tensor:
            return task_loss(theta, rule, inner_loss, outer_loss, support_i, query_i, first_order=first_order)

        return grad_and_value(loss)(meta)

    return vmap(one_task)(support, query)
