"""Independent references: written with torch.autograd and Python loops, sharing no code with the engine."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, ravel, unravel
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import mean_kl


def task(batch: Any, index: int) -> Any:
    """The batch of one task, out of a batch with a leading task axis."""
    return tree_map(lambda leaf: leaf[index], batch)


def loop_meta_loss(
    theta: Params,
    step_sizes: Sequence[float],
    inner_loss: Callable[[Params, Any], Tensor],
    outer_loss: Callable[[Params, Any], Tensor],
    support: Sequence[Any],
    query: Any,
    tasks: int,
    *,
    first_order: bool = False,
    adapts: Callable[[str], bool] = lambda name: not name.startswith("step_size.") and not name.endswith(".shift"),
) -> Tensor:
    """Algorithm 1 with a Python loop over tasks and double backward; Meta-SGD where theta holds step sizes."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(tasks):
        adapted = dict(theta)
        for step, batch in enumerate(support):
            loss = inner_loss(adapted, task(batch, i))
            names = [name for name in adapted if adapts(name)]
            gradients = torch.autograd.grad(
                loss, [adapted[n] for n in names], create_graph=not first_order, allow_unused=True
            )
            alpha = step_sizes[min(step, len(step_sizes) - 1)]
            for n, g in zip(names, gradients, strict=True):
                learned = theta.get(f"step_size.{n}")
                size = alpha if learned is None else learned * alpha / step_sizes[0]
                adapted[n] = adapted[n] if g is None else adapted[n] - size * g
        total = total + outer_loss(adapted, task(query, i))
    return total / tasks


def loop_meta_gradient(theta: Params, *arguments: Any, **options: Any) -> tuple[Tensor, Params]:
    """Loss and gradient of `loop_meta_loss` by one backward pass."""
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in theta.items()}
    loss = loop_meta_loss(leaves, *arguments, **options)
    gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return loss.detach(), {
        name: torch.zeros_like(leaf) if g is None else g
        for (name, leaf), g in zip(leaves.items(), gradients, strict=True)
    }


def dense_hessian(objective: MetaObjective, theta: Params) -> Tensor:
    """Hessian of the mean KL at the adapted policies, by double backward through a Python loop, [P, P]."""
    learner = objective.learner

    def divergence(params: Params, batch: PolicyBatch) -> Tensor:
        new = learner.predict(params, batch)
        return mean_kl(type(new)(*(field.detach() for field in new)), new, batch)

    def kl(vector: Tensor) -> Tensor:
        params = unravel(vector, theta)
        return loop_meta_loss(
            params,
            (0.1,),
            learner.inner_loss,
            divergence,
            objective.support,
            objective.query,
            len(objective.query.mask),
        )

    # All rows at a time, in a twentieth of the time of one after the other.
    return torch.as_tensor(torch.autograd.functional.hessian(kl, ravel(theta), vectorize=True))


def values_of(
    start: Tensor, moves: Tensor, rewards: Tensor, horizon: int, chosen: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """Expected return of a tabular policy [S, A], and the expected returns from each timestep, state and action on.

    By dynamic programming from the end: start [S], moves [S, A, S], rewards [S, A]; the latter T times [S, A].
    """
    ahead, actions_ahead = torch.zeros_like(start), []
    for _ in range(horizon):
        actions_ahead.insert(0, rewards + torch.einsum("sax,x->sa", moves, ahead))
        ahead = torch.einsum("sa,sa->s", chosen, actions_ahead[0])
    return start.dot(ahead), actions_ahead
