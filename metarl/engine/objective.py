"""The meta-objective of one meta-batch: everything an outer optimiser may ask, reduced over tasks (and ranks).

No optimiser differentiates anything itself: Adam asks for the loss and its gradient, TRPO also for the divergence
from the old parameters and for products with its Hessian.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from metarl.engine.inner import InnerRule
from metarl.engine.maml import Batch, adapt, task_gradients
from metarl.engine.params import Params, add, detach, unravel
from metarl.engine.trust_region import CURVATURES, FINITE_DIFFERENCES, Matvec

Outputs = Any  # what `predict` returns: a tensor, or a NamedTuple of tensors such as a policy's distribution


class TaskFunctions(NamedTuple):
    """What a problem gives the engine: pure functions on the data of ONE task.

    inner_loss(params, batch) -> scalar                   the loss of the inner steps
    predict(params, batch) -> outputs                     the model on a batch
    outer_loss(outputs, batch) -> scalar                  the loss of the adapted model on the query batch
    divergence(old_outputs, outputs, batch) -> scalar     what TRPO bounds; None where no trust region is wanted
    subset(batch, fraction) -> batch                      the part of a batch that serves cheaper curvature
    """

    inner_loss: Callable[[Params, Batch], Tensor]
    predict: Callable[[Params, Batch], Outputs]
    outer_loss: Callable[[Outputs, Batch], Tensor]
    divergence: Callable[[Outputs, Outputs, Batch], Tensor] | None = None
    subset: Callable[[Batch, float], Batch] | None = None


TaskGradients = Callable[[Params, tuple[Batch, ...], Batch], tuple[Params, Tensor]]


def gradients_of(
    rule: InnerRule, functions: TaskFunctions, *, first_order: bool = False, compiled: bool = False
) -> TaskGradients:
    """`maml.task_gradients` as a function of theta and data alone: what an objective needs of it.

    Args:
        rule, functions, first_order: see `MetaObjective`.
        compiled: by torch.compile, at the first call and whenever the data's shapes change. That takes a C++ compiler
            and up to a minute, and pays where the network is small and the iterations are many.

    Raises:
        ValueError: (when called) torch.compile fails.
    """

    def outer_loss(params: Params, batch: Batch) -> Tensor:
        return functions.outer_loss(functions.predict(params, batch), batch)

    def gradients(theta: Params, support: tuple[Batch, ...], query: Batch) -> tuple[Params, Tensor]:
        return task_gradients(theta, rule, functions.inner_loss, outer_loss, support, query, first_order=first_order)

    if not compiled:
        return gradients
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    fast = torch.compile(gradients, dynamic=False)

    def compiled_gradients(theta: Params, support: tuple[Batch, ...], query: Batch) -> tuple[Params, Tensor]:
        try:
            return fast(theta, support, query)
        except TorchDynamoException as error:  # what failed is the compilation
            reason = next(iter(str(error).splitlines()), "")
            raise ValueError(f"torch.compile failed ({reason}): go on without it, --no-compile") from error

    return compiled_gradients


class MetaObjective:
    """The outer loss, its gradient, and the divergence from `theta_old`, as means over the tasks of a meta-batch.

    Every answer is a float64 sum over the local tasks, handed to `reduce`, divided by the global number of tasks.

    Args:
        theta_old: the parameters the meta-batch was collected with; the divergence is measured from there.
        rule, functions: the inner rule and the problem's functions of one task.
        support: K batches, every leaf [M, ...]; support[k] serves inner step k.
        query: the batch that scores the adapted parameters, every leaf [M, ...].
        first_order: first-order MAML (section 5.2).
        num_tasks: the global number of tasks, M on a single rank.
        first_task: the global index of the first local task.
        reduce: sums a float64 tensor over ranks; the identity on one rank.
        gradients: theta, support, query -> what `task_gradients` of this rule and these functions returns, and may have
            been compiled before; None: it is made here.
    """

    def __init__(
        self,
        theta_old: Params,
        rule: InnerRule,
        functions: TaskFunctions,
        support: Sequence[Batch],
        query: Batch,
        *,
        num_tasks: int,
        first_task: int = 0,
        first_order: bool = False,
        reduce: Callable[[Tensor], Tensor] = lambda total: total,
        gradients: TaskGradients | None = None,
    ) -> None:
        self.theta_old = detach(theta_old)
        self.rule, self.functions = rule, functions
        self.support, self.query = tuple(support), query
        self.num_tasks, self.first_task = num_tasks, first_task
        self.first_order, self.reduce = first_order, reduce
        self._task_gradients = gradients or gradients_of(rule, functions, first_order=first_order)

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        """The meta-loss and its gradient with respect to theta."""
        gradients, losses = self._task_gradients(theta, self.support, self.query)
        loss, *leaves = self._means(losses, *gradients.values())
        gradient = {name: leaf.to(theta[name].dtype) for name, leaf in zip(gradients, leaves, strict=True)}
        return loss.item(), gradient

    @torch.no_grad()
    def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
        """The meta-loss and the mean divergence from theta_old, from one pass over the data."""
        divergence = self._divergence

        def one_task(support: Sequence[Batch], query: Batch, old_outputs: Outputs) -> tuple[Tensor, Tensor]:
            outputs = self.functions.predict(self.adapt(theta, support), query)
            return self.functions.outer_loss(outputs, query), divergence(old_outputs, outputs, query)

        loss, mean_divergence = self._means(*vmap(one_task)(self.support, self.query, self._old_outputs))
        return loss.item(), mean_divergence.item()

    def curvature(
        self, theta: Params, kind: str, fraction: float = 1.0, task_fraction: float = 1.0, **options: float
    ) -> Matvec:
        """Products with the Hessian of the mean divergence at theta: v [P] -> H v [P], in float64.

        The divergence is measured from theta itself, through the same code path, so that its gradient there is
        exactly zero: what Gauss-Newton and forward differences need.

        Args:
            theta: where, [P] parameters.
            kind: a key of `trust_region.CURVATURES`.
            fraction: share of the query that the divergence is averaged over, in (0, 1]. The support is used whole: the
                inner gradient of a part of it moves otherwise with theta, and the steps made of that gain less.
            task_fraction: share of the tasks that it is averaged over, in (0, 1], evenly spread over the meta-batch, at
                least one.
            options: passed to the kind (`epsilon` of finite differences).

        Raises:
            ValueError: an unknown kind, or a problem without divergence or without subsets.
        """
        if kind not in CURVATURES:
            raise ValueError(f"unknown curvature {kind!r}: choose one of {', '.join(CURVATURES)}")
        divergence, data = self._divergence, (self.support, self._part_of_the_query(fraction))
        adapt: Callable[[Params, Any], Params] = self.adapt
        if self.first_order and CURVATURES[kind] in FINITE_DIFFERENCES:
            # differences would see the inner gradient move, which first order holds: the whole update is held instead
            # (with meta-learned step sizes, too, which then would not move anything: `RLConfig` refuses that)
            adapt, data = add, (self._inner_updates(theta), data[1])
        count, here = self._chosen(task_fraction)
        if not here:  # all of them are other ranks'
            return lambda vector: self._means(vector.new_zeros(1, len(vector)), num_tasks=count)[0]
        data = tree_map(lambda leaf: leaf[here], data) if task_fraction < 1.0 else data

        products = CURVATURES[kind](
            lambda params, one: self.functions.predict(adapt(params, one[0]), one[1]),
            lambda old_outputs, outputs, one: divergence(old_outputs, outputs, one[1]),
            theta,
            data,
            **options,
        )

        def matvec(vector: Tensor) -> Tensor:
            leaves = self._means(*products(unravel(vector, theta)).values(), num_tasks=count)
            return torch.cat([leaf.flatten() for leaf in leaves])

        return matvec

    def adapt(self, theta: Params, support: Sequence[Batch]) -> Params:
        """theta' of one task, as every answer of this objective computes it."""
        return adapt(theta, self.rule, self.functions.inner_loss, support, first_order=self.first_order)

    @torch.no_grad()
    def _inner_updates(self, theta: Params) -> Params:
        """Theta' - theta of every task, leaves [M, ...]."""

        def one_task(support: Sequence[Batch], _: Batch) -> Params:  # the query says how many tasks, where K = 0
            return add(self.adapt(theta, support), theta, scale=-1.0)

        return vmap(one_task)(self.support, self.query)

    def _part_of_the_query(self, fraction: float) -> Batch:
        if fraction == 1.0:
            return self.query
        subset = self.functions.subset
        if subset is None:
            raise ValueError(f"this problem has no subsets: curvature fraction must be 1, got {fraction}")
        return vmap(lambda query: subset(query, fraction))(self.query)

    @property
    def _divergence(self) -> Callable[[Outputs, Outputs, Batch], Tensor]:
        if self.functions.divergence is None:
            raise ValueError("this problem defines no divergence: choose the outer optimiser adam instead of trpo")
        return self.functions.divergence

    @cached_property
    def _old_outputs(self) -> Outputs:
        """The old model's outputs on the query, through the same code path as the new one's."""
        with torch.no_grad():
            return vmap(lambda s, q: self.functions.predict(self.adapt(self.theta_old, s), q))(self.support, self.query)

    def _chosen(self, fraction: float) -> tuple[int, list[int]]:
        """How many tasks are every 1 / fraction-th of all, from the first on, and which of the local ones these are."""
        chosen = [i for i in range(self.num_tasks) if math.ceil((i + 1) * fraction) > math.ceil(i * fraction)]
        local = len(tree_leaves(self.query)[0])
        return len(chosen), [i - self.first_task for i in chosen if 0 <= i - self.first_task < local]

    def _means(self, *per_task: Tensor, num_tasks: int | None = None) -> list[Tensor]:
        """Each tensor's mean over the tasks of all ranks, its leading axis; all in one reduction."""
        sums = [leaf.sum(0, dtype=torch.float64) for leaf in per_task]
        total = self.reduce(torch.cat([leaf.flatten() for leaf in sums])) / (num_tasks or self.num_tasks)
        parts = total.split([leaf.numel() for leaf in sums])
        return [part.reshape(leaf.shape) for part, leaf in zip(parts, sums, strict=True)]
