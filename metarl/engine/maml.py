"""Algorithm 1 of Finn et al. 2017: adapt to each task by gradient steps, differentiate through the adaptation.

The one place in metarl with an inner gradient. Sampling, outer loss, line search, evaluation, supervised and
reinforcement learning all go through `Learner`. What is written for ONE task takes its data without the task axis M;
`vmap` adds it.

theta    meta-parameters                        support  K batches, one per inner step
theta'   parameters adapted to a task           query    the batch that scores theta'
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, vmap

from metarl.arguments import require_room
from metarl.engine.params import Params, stack
from metarl.engine.rules import InnerRule

Batch = Any  # a pytree of tensors that a problem defines and the engine only passes on
Outputs = Any  # what a model says on a batch: a tensor, or a NamedTuple of tensors such as a policy's distribution
Loss = Callable[[Params, Batch], Tensor]  # parameters and data of one task -> scalar


class AdaptedTask(NamedTuple):
    """One task after adaptation: what an outer loss may depend on, and be differentiated through."""

    theta: Params  # parameters that the model is applied with before adaptation
    adapted: Params  # theta', the parameters that it is applied with after adaptation
    support: tuple[Batch, ...]
    query: Batch
    outputs: Outputs  # of the model under theta' on the query
    path: tuple[Params, ...]  # path[k]: the parameters before inner step k, which collected support[k]; theta first


OuterLoss = Callable[[AdaptedTask], Tensor]  # -> scalar


def _nothing(params: Params, batch: Batch) -> Outputs:
    return None


@dataclass(frozen=True)
class Learner:
    """What learns a task: the model, the loss of its inner steps, and the rule that these follow.

    Args:
        rule: what a gradient does to a task's parameters (`rules`).
        inner_loss: the loss of the inner steps, L(params, batch) -> scalar.
        predict: the model, (params, batch) -> outputs; needed where outer loss or divergence look at the outputs.
    """

    rule: InnerRule
    inner_loss: Loss
    predict: Callable[[Params, Batch], Outputs] = _nothing

    def adapt(self, theta: Params, support: Sequence[Batch]) -> Params:
        """Theta' = U_K(... U_1(theta)) of one task, an inner step per batch of the support. Differentiable in theta."""
        return self._path(theta, support, lambda fast, batch: self._gradient(fast, theta, batch))[-1]

    def adapted_task(self, theta: Params, support: Sequence[Batch], query: Batch) -> AdaptedTask:
        """Adapt to one task on its support, and apply the model to its query."""
        *path, adapted = self._path(theta, support, lambda fast, batch: self._gradient(fast, theta, batch))
        before = path[0] if path else adapted
        return AdaptedTask(before, adapted, tuple(support), query, self.predict(adapted, query), tuple(path))

    def task_gradients(
        self,
        outer_loss: OuterLoss,
        theta: Params,
        support: Sequence[Batch],
        query: Batch,
        *,
        with_outputs: bool = False,
    ) -> tuple[Params, Tensor, Outputs]:
        """Differentiate the outer loss of each task.

        The gradient of each task is taken inside vmap, and `MetaObjective` averages. The gradient of an average over
        vmap is wrong in torch 2.13 for normalisation layers whose scale is adapted.

        Args:
            outer_loss: of one adapted task, a scalar.
            theta: meta-parameters, the same for all tasks.
            support: K batches, every leaf [M, ...].
            query: every leaf [M, ...].
            with_outputs: keep the outputs, too.

        Returns:
            Each task's meta-gradient, leaves [M, ...]; its outer loss after adaptation, [M]; and its outputs on the
            query after adaptation, leaves [M, ...], or without `with_outputs` an empty tuple.
        """

        def one_task(support_i: Sequence[Batch], query_i: Batch) -> tuple[Params, Tensor, Outputs]:
            def scored(meta: Params) -> tuple[Tensor, Outputs]:
                task = self.adapted_task(meta, support_i, query_i)
                return outer_loss(task), task.outputs if with_outputs else ()

            gradient, (loss, outputs) = grad_and_value(scored, has_aux=True)(theta)
            return gradient, loss, outputs

        return vmap(one_task)(support, query)

    def inner_gradients(self, theta: Params, support: Sequence[Batch]) -> tuple[Params, ...]:
        """The gradient of every inner step of one task's adaptation from theta."""
        taken: list[Params] = []

        def take(fast: Params, batch: Batch) -> Params:
            taken.append(self._gradient(fast, theta, batch))
            return taken[-1]

        self._path(theta, support, take)
        return tuple(taken)

    def replay(self, theta: Params, gradients: Sequence[Params]) -> Params:
        """Theta' of one task when every inner step uses the given gradient instead of computing one."""
        return self._path(theta, gradients, lambda fast, gradient: gradient)[-1]

    def start_each(self, theta: Params, tasks: int) -> Params:
        """The fast parameters of M tasks before their first inner step, leaves [M, ...].

        With `step_each` and `merge_each` this is `adapt` one step at a time, without derivatives, for sampling and
        evaluation, which roll out or score between the steps.

        Raises:
            ValueError: there is no room for so many copies of what adapts.
        """
        fast = self.rule.start(theta)
        size = sum(leaf.nbytes for leaf in fast.values() if not leaf.is_cuda)
        # The first copies are views; those of the next step are not.
        require_room(tasks * size, f"{tasks} tasks: their adapted parameters, of {size:,} bytes each,")
        return stack(fast, tasks)

    @torch.no_grad()
    def step_each(self, fast: Params, theta: Params, batch: Batch, *, step: int) -> Params:
        """One inner step of M tasks at once, each from its own fast parameters.

        Args:
            fast: leaves [M, ...].
            theta: meta-parameters, the same for all tasks.
            batch: the data of this step, every leaf [M, ...].
            step: number of the step, from 0, on which the rule's step size may depend.
        """

        def one_task(fast_i: Params, batch_i: Batch) -> Params:
            return self.rule.update(fast_i, self._gradient(fast_i, theta, batch_i), theta, step)

        return vmap(one_task)(fast, batch)

    @torch.no_grad()
    def merge_each(self, fast: Params, theta: Params) -> Params:
        """The parameters that the model is applied with in each of M tasks, all leaves [M, ...]."""
        return vmap(lambda fast_i: self.rule.merge(fast_i, theta))(fast)

    def _path(self, theta: Params, steps: Sequence[Any], gradient: Callable[[Params, Any], Params]) -> list[Params]:
        """The parameters that the model is applied with, before the first inner step and after each."""
        fast = self.rule.start(theta)
        path = [self.rule.merge(fast, theta)]
        for step, data in enumerate(steps):
            fast = self.rule.update(fast, gradient(fast, data), theta, step)
            path.append(self.rule.merge(fast, theta))
        return path

    def _gradient(self, fast: Params, theta: Params, batch: Batch) -> Params:
        """The gradient of the inner loss with respect to one task's fast parameters."""
        return grad(lambda moved, data: self.inner_loss(self.rule.merge(moved, theta), data))(fast, batch)
