"""The contract between datasets and the problem that trains on their tasks."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.tasks import SPLITS, Split

KindName = Literal["regression", "classification"]


class Examples(NamedTuple):
    """Labelled examples of M tasks; losses see those of one task, without the leading M."""

    inputs: Tensor  # [M, N, ...]
    targets: Tensor  # [M, N, O] values, or [M, N] class labels


class TaskDistribution(NamedTuple):
    """Three pure functions, of which two draw from a generator.

    sample_tasks(rng, n, split) -> tasks [n, k]
    examples(tasks, rng, shots, queries) -> support, query    `shots` and `queries` examples each (of each class)
    describe(task [k]) -> words                               the task for a picture's title

    Row i of what is drawn must depend on i and the generator, not on n, as one call of `rng.random((n, ...))` makes it.
    """

    sample_tasks: Callable[[np.random.Generator, int, Split], NDArray[np.float64]]
    examples: Callable[[NDArray[np.float64], np.random.Generator, int, int], tuple[Examples, Examples]]
    describe: Callable[[NDArray[np.float64]], str]


class SupervisedTasks(NamedTuple):
    """What a dataset builds: tasks, and all that networks, losses and methods need to know of them."""

    distribution: TaskDistribution
    input_shape: tuple[int, ...]
    """Shape of one input, such as (1,) or (28, 28, 1)."""
    outputs: int
    """O: values that are predicted, or classes of a task."""
    kind: KindName
    """The kind of problem, which decides the loss and the scores: a key of `losses.KINDS`."""
    shared_targets: bool
    """Whether targets mean the same in all tasks, so that one model can be trained on all tasks without adaptation.
    Labels that number the classes of a task do not."""
    examples_available: int | None = None
    """Support and query examples (of each class) that every task has at least; None: any number."""
    smallest_class: str = "class"
    """The class with the fewest examples, in words."""

    def require_examples(self, shots: int, queries: int) -> None:
        """Raise ValueError unless every task has this many examples (of each class)."""
        available = self.examples_available
        if available is not None and shots + queries > available:
            raise ValueError(
                f"shots and queries together must be at most {available}, the examples of the smallest "
                f"{self.smallest_class}; got {shots + queries}"
            )

    def signature(self) -> tuple[float, ...]:
        """A few means of examples, by which other data can be told from these; 2 numbers for each split."""
        numbers: list[float] = []
        for split in SPLITS:
            tasks = self.distribution.sample_tasks(np.random.default_rng(1), 2, split)
            for examples in self.distribution.examples(tasks, np.random.default_rng(2), 1, 1):
                values = examples.inputs.double().flatten()
                # Weights, so that the same numbers in another order have another mean.
                weights = torch.linspace(0.5, 1.5, len(values), dtype=torch.float64)
                numbers.append(round((values * weights).mean().item(), 6))
        return tuple(numbers)

    def with_task_in_inputs(self) -> "SupervisedTasks":
        """The same tasks for an oracle: the k numbers of the task follow every input, [N, I] -> [N, I + k].

        Raises:
            ValueError: targets do not mean the same in all tasks, or inputs are no vectors.
        """
        if not self.shared_targets or len(self.input_shape) != 1:
            raise ValueError(
                "an oracle needs inputs that are vectors and targets that mean the same in all tasks; got inputs of "
                f"shape {list(self.input_shape)} and a {self.kind}"
            )
        plain = self.distribution
        numbers = plain.sample_tasks(np.random.default_rng(0), 1, "train").shape[1]

        def examples(
            tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int
        ) -> tuple[Examples, Examples]:
            support, query = plain.examples(tasks, rng, shots, queries)
            return _followed_by(support, tasks), _followed_by(query, tasks)

        return self._replace(
            distribution=plain._replace(examples=examples), input_shape=(self.input_shape[0] + numbers,)
        )


def _followed_by(examples: Examples, tasks: NDArray[np.float64]) -> Examples:
    """Inputs [M, N, I] and tasks [M, k] -> inputs [M, N, I + k]."""
    inputs = examples.inputs
    repeated = torch.from_numpy(tasks).to(inputs.dtype)[:, None].expand(-1, inputs.shape[1], -1)
    return examples._replace(inputs=torch.cat([inputs, repeated], dim=-1))
