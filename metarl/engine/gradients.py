"""The meta-gradients of a meta-batch's tasks as one function: of all tasks or of some at a time, compiled or not."""

import functools
import operator
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from metarl.engine.maml import Batch, Learner, OuterLoss, Outputs
from metarl.engine.params import Params

TaskGradients = Callable[[Params, tuple[Batch, ...], Batch], tuple[Params, Tensor, Outputs]]


def gradients_of(
    learner: Learner,
    outer_loss: OuterLoss,
    *,
    with_outputs: bool = False,
    compiled: bool = False,
    most: int | None = None,
) -> TaskGradients:
    """Bind `Learner.task_gradients` to a learner and an outer loss: a function of theta, support and query.

    Args:
        learner: what adapts to a task.
        outer_loss: of one adapted task, a scalar.
        with_outputs: see `Learner.task_gradients`.
        compiled: compile the function with torch.compile, at its first call and whenever the data's shapes change. This
            needs a C++ compiler, Python's headers and up to a minute, and pays where the network is small and the
            iterations are many.
        most: the largest sum of P over the tasks that are computed at a time, P parameters, so that what they need at a
            time fits the processor's caches; at least one task. None: all tasks at a time.

    Raises:
        ValueError: (when the result is called) torch.compile fails.
    """

    def gradients(theta: Params, support: tuple[Batch, ...], query: Batch) -> tuple[Params, Tensor, Outputs]:
        return learner.task_gradients(outer_loss, theta, support, query, with_outputs=with_outputs)

    return _Compiled(gradients, most) if compiled else functools.partial(_in_parts, gradients, most)


def _in_parts(
    gradients: TaskGradients, most: int | None, theta: Params, support: tuple[Batch, ...], query: Batch
) -> tuple[Params, Tensor, Outputs]:
    """The gradients of all tasks, of some of them at a time; see `gradients_of`."""
    tasks = len(tree_leaves(query)[0])
    at_a_time = tasks
    if most is not None:
        fitting = most // sum(leaf.numel() for leaf in theta.values())
        # Parts of equal sizes, because each other size would be compiled.
        at_a_time = max((n for n in range(1, tasks + 1) if tasks % n == 0 and n <= fitting), default=1)
    if at_a_time == tasks:
        return gradients(theta, support, query)
    data = (support, query)
    parts = [
        gradients(theta, *tree_map(operator.itemgetter(slice(first, first + at_a_time)), data))
        for first in range(0, tasks, at_a_time)
    ]
    return tree_map(lambda *leaves: torch.cat(leaves), *parts)


class _Compiled:
    """Gradients by torch.compile; see `gradients_of`."""

    def __init__(self, gradients: TaskGradients, most: int | None) -> None:
        self._fast = torch.compile(gradients, dynamic=False)
        self._most = most
        self.must_compile = True

    def __call__(self, theta: Params, support: tuple[Batch, ...], query: Batch) -> tuple[Params, Tensor, Outputs]:
        # Imported here, because the import takes a second.
        from torch._dynamo.exc import TorchDynamoException

        try:
            result = _in_parts(self._fast, self._most, theta, support, query)
        except TorchDynamoException as error:
            reason = next(iter(str(error).splitlines()), "")
            raise ValueError(f"torch.compile failed ({reason}): go on without it, --no-compile") from error
        self.must_compile = False
        return result
