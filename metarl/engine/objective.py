"""The meta-objective of one meta-batch: everything an outer optimiser may ask, as means over tasks (and ranks).

Optimisers differentiate nothing themselves. Adam asks for the loss and its gradient; TRPO also for the divergence from
the old parameters and for products with the divergence's Hessian.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from metarl.engine.curvature import CURVATURES, FINITE_DIFFERENCES
from metarl.engine.gradients import TaskGradients, gradients_of
from metarl.engine.maml import AdaptedTask, Batch, Learner, OuterLoss, Outputs
from metarl.engine.params import Params, detach, unravel
from metarl.engine.solvers import Matvec


class TaskFunctions(NamedTuple):
    """How an adapted task is scored and compared: what a problem gives the engine beside its learner.

    outer_loss(task) -> scalar                            the loss of an `AdaptedTask`
    divergence(old_outputs, outputs, batch) -> scalar     what TRPO bounds; None where there is no trust region
    subset(batch, fraction) -> batch                      a part of a batch, for cheaper curvature; None: only the whole
    clipped(epsilon) -> outer loss                        the outer loss without a gain beyond likelihood ratios of
                                                          1 +- epsilon; None where nothing has a likelihood ratio
    """

    outer_loss: OuterLoss
    divergence: Callable[[Outputs, Outputs, Batch], Tensor] | None = None
    subset: Callable[[Batch, float], Batch] | None = None
    clipped: Callable[[float], OuterLoss] | None = None


def require_minibatches(parts: int, tasks: int) -> None:
    """Raise ValueError where a meta-batch has fewer tasks than parts."""
    if parts > tasks:
        raise ValueError(f"minibatches must be at most {tasks}, the tasks of a meta-batch; got {parts}")


class MetaObjective:
    """The outer loss, its gradient, and the divergence from `theta_old`, as means over the tasks of a meta-batch.

    Every answer is a float64 sum over the local tasks, summed over ranks by `reduce`, divided by the global number of
    tasks.

    Args:
        theta_old: the parameters the meta-batch was collected with; the divergence is measured from there.
        learner: what adapts to a task.
        functions: how an adapted task is scored and compared.
        support: K batches, every leaf [M, ...]; support[k] serves inner step k.
        query: the batch that scores the adapted parameters, every leaf [M, ...].
        num_tasks: the global number of tasks; None: M, on a single rank.
        first_task: the global index of the first local task.
        reduce: sums a float64 tensor over ranks; the identity on one rank.
        gradients: the result of `gradients_of` for this learner and this outer loss, so that a compiled one is compiled
            once for all meta-batches; None: made here, not compiled.
    """

    def __init__(
        self,
        theta_old: Params,
        learner: Learner,
        functions: TaskFunctions,
        support: Sequence[Batch],
        query: Batch,
        *,
        num_tasks: int | None = None,
        first_task: int = 0,
        reduce: Callable[[Tensor], Tensor] = lambda total: total,
        gradients: TaskGradients | None = None,
    ) -> None:
        self.theta_old = detach(theta_old)
        self.learner = learner
        self.functions = functions
        self.support = tuple(support)
        self.query = query
        self.num_tasks = num_tasks or self._local_tasks
        self.first_task = first_task
        self.reduce = reduce
        keep = functions.divergence is not None
        self._task_gradients = gradients or gradients_of(learner, functions.outer_loss, with_outputs=keep)

    def with_outer_loss(self, outer_loss: OuterLoss) -> "MetaObjective":
        """The same meta-batch under another outer loss, such as a clipped one that an optimiser asks for."""
        return self._with(functions=self.functions._replace(outer_loss=outer_loss))

    def minibatches(self, parts: int) -> list["MetaObjective"]:
        """The meta-batch in parts: objectives of consecutive tasks, as many in each as the numbers allow.

        Where ranks share the tasks, those without a task of a part add zeros to its sums.

        Raises:
            ValueError: there are more parts than tasks.
        """
        require_minibatches(parts, self.num_tasks)
        if parts == 1:
            return [self]
        bounds = [self.num_tasks * part // parts for part in range(parts + 1)]
        return [self._of_tasks(range(start, stop)) for start, stop in itertools.pairwise(bounds)]

    def _of_tasks(self, chosen: range) -> "MetaObjective":
        """The objective of some of the tasks, which are given by their global indices."""
        here = self._here(chosen)
        support, query = tree_map(lambda leaf: leaf[here], (self.support, self.query))
        first_task = max(self.first_task - chosen.start, 0)
        return self._with(support=support, query=query, num_tasks=len(chosen), first_task=first_task)

    def _with(self, **changes: Any) -> "MetaObjective":
        """The same objective, not compiled, with other values of some arguments."""
        arguments = {
            "functions": self.functions,
            "support": self.support,
            "query": self.query,
            "num_tasks": self.num_tasks,
            "first_task": self.first_task,
        }
        return MetaObjective(self.theta_old, self.learner, reduce=self.reduce, **arguments | changes)

    def clipped(self, epsilon: float) -> OuterLoss:
        """The outer loss with clipped likelihood ratios. Raises ValueError for a problem without likelihood ratios."""
        if self.functions.clipped is None:
            raise ValueError("this problem has no likelihood ratios to clip: choose the outer optimiser adam instead")
        return self.functions.clipped(epsilon)

    @property
    def must_compile(self) -> bool:
        """Whether the next gradient is compiled first, which can take a minute."""
        return getattr(self._task_gradients, "must_compile", False)

    @property
    def pre_update_divergence(self) -> OuterLoss:
        """An outer loss: the divergence of theta from theta_old, both before adaptation, on what theta_old collected.

        The batch is the first of the support, or without inner steps the query. Raises ValueError for a problem without
        divergence.
        """
        divergence = self._divergence
        rule = self.learner.rule
        before = rule.merge(rule.start(self.theta_old), self.theta_old)

        def loss(task: AdaptedTask) -> Tensor:
            batch = task.support[0] if task.support else task.query
            return divergence(self.learner.predict(before, batch), self.learner.predict(task.theta, batch), batch)

        return loss

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        """The meta-loss and its gradient with respect to theta: the meta-gradient."""
        if self._local_tasks:
            gradients, losses, outputs = self._task_gradients(theta, self.support, self.query)
            # Divergences are measured from these outputs, which would take another pass over the data.
            if self.functions.divergence and all(torch.equal(theta[name], old) for name, old in self.theta_old.items()):
                self._old_outputs = outputs
        else:
            # All the tasks belong to other ranks: this one adds zeros to their sums.
            gradients = {name: leaf.new_zeros(0, *leaf.shape) for name, leaf in theta.items()}
            losses = next(iter(gradients.values())).new_zeros(0)
        loss, *leaves = self._means(losses, *gradients.values())
        gradient = {name: leaf.to(theta[name].dtype) for name, leaf in zip(gradients, leaves, strict=True)}
        return loss.item(), gradient

    @torch.no_grad()
    def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
        """The meta-loss and the mean divergence from theta_old, from one pass over the data."""
        divergence = self._divergence

        def one_task(support: Sequence[Batch], query: Batch, old_outputs: Outputs) -> tuple[Tensor, Tensor]:
            task = self.learner.adapted_task(theta, support, query)
            return self.functions.outer_loss(task), divergence(old_outputs, task.outputs, query)

        loss, mean_divergence = self._means(*vmap(one_task)(self.support, self.query, self._old_outputs))
        return loss.item(), mean_divergence.item()

    def curvature(
        self, theta: Params, kind: str, fraction: float = 1.0, task_fraction: float = 1.0, **options: float
    ) -> Matvec:
        """Products with the Hessian of the mean divergence at theta: v [P] -> H v [P], in float64.

        The divergence is measured from theta itself, through the same code path, so that its gradient at theta is
        exactly zero. Gauss-Newton and forward differences need that.

        Args:
            theta: the point at which the Hessian is taken, P parameters.
            kind: a key of `curvature.CURVATURES`.
            fraction: share of the query that the divergence is averaged over, in (0, 1]. The support is used whole: the
                inner gradient of a part of it has another derivative in theta, and outer steps made of it gain less.
            task_fraction: share of the tasks that the divergence is averaged over, in (0, 1]; evenly spread over the
                meta-batch, at least one task.
            options: passed to the kind of curvature (`epsilon` of finite differences).

        Raises:
            ValueError: an unknown kind, or a problem without divergence or without subsets.
        """
        if kind not in CURVATURES:
            raise ValueError(f"unknown curvature {kind!r}: choose one of {', '.join(CURVATURES)}")
        learner = self.learner
        predict = self.learner.predict
        divergence = self._divergence
        adapt: Callable[[Params, Any], Params] = learner.adapt
        steps: Any = self.support
        if learner.rule.holds_gradient and CURVATURES[kind] in FINITE_DIFFERENCES:
            # A first-order rule treats inner gradients as constants, but a difference between two thetas would see them
            # change: both thetas use the inner gradients that were computed at theta.
            adapt = learner.replay
            steps = self._inner_gradients(theta)
        data = (steps, self._part_of_the_query(fraction))
        count, here = self._chosen(task_fraction)
        if not here:
            # All the chosen tasks belong to other ranks: this one adds zeros to their sums.
            return lambda vector: self._means(vector.new_zeros(1, len(vector)), num_tasks=count)[0]
        data = tree_map(lambda leaf: leaf[here], data) if task_fraction < 1.0 else data

        products = CURVATURES[kind](
            lambda params, task: predict(adapt(params, task[0]), task[1]),
            lambda old_outputs, outputs, task: divergence(old_outputs, outputs, task[1]),
            theta,
            data,
            **options,
        )

        def matvec(vector: Tensor) -> Tensor:
            leaves = self._means(*products(unravel(vector, theta)).values(), num_tasks=count)
            return torch.cat([leaf.flatten() for leaf in leaves])

        return matvec

    @torch.no_grad()
    def _inner_gradients(self, theta: Params) -> tuple[Params, ...]:
        """The inner gradient of every step of every task, leaves [M, ...]."""

        # vmap learns the number of tasks from the query where there are no inner steps.
        def one_task(support: Sequence[Batch], _: Batch) -> tuple[Params, ...]:
            return self.learner.inner_gradients(theta, support)

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
        """The outputs of theta_old's adapted model on the query, unless its gradient was asked for and left them here.

        Both code paths, and that of a new theta's outputs, are the same but for what is recorded for derivatives.
        """
        with torch.no_grad():
            old = vmap(lambda support, query: self.learner.adapted_task(self.theta_old, support, query).outputs)
            return old(self.support, self.query)

    def _chosen(self, fraction: float) -> tuple[int, list[int]]:
        """Choose every 1 / fraction-th task, from the first on: how many these are, and which of the local tasks."""
        chosen = [i for i in range(self.num_tasks) if math.ceil((i + 1) * fraction) > math.ceil(i * fraction)]
        return len(chosen), self._here(chosen)

    def _here(self, chosen: Iterable[int]) -> list[int]:
        """The local indices of those of the chosen tasks, by global index, that this rank has."""
        return [i - self.first_task for i in chosen if 0 <= i - self.first_task < self._local_tasks]

    @property
    def _local_tasks(self) -> int:
        """How many of the tasks this rank has."""
        return len(tree_leaves(self.query)[0])

    def _means(self, *per_task: Tensor, num_tasks: int | None = None) -> list[Tensor]:
        """Each tensor's mean over its leading axis, the tasks of all ranks, by one reduction for all tensors."""
        # The same sums as by `sum`'s own dtype, in a third of the time.
        sums = [leaf.double().sum(0) for leaf in per_task]
        total = self.reduce(torch.cat([leaf.flatten() for leaf in sums])) / (num_tasks or self.num_tasks)
        parts = total.split([leaf.numel() for leaf in sums])
        return [part.reshape(leaf.shape) for part, leaf in zip(parts, sums, strict=True)]
