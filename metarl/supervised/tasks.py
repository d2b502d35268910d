"""What a family of supervised tasks has to say: the contract between datasets and the problem that trains on them."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
KindName = Literal["regression", "classification"]


class Examples(NamedTuple):
    """Labelled examples of M tasks; losses see those of one task, without the leading M."""

    inputs: Tensor  # [M, N, ...]
    targets: Tensor  # [M, N, O] values, or [M, N] class labels


class TaskDistribution(NamedTuple):
    """Pure functions, two of a generator; row i of what they draw depends on i and the generator, not on n.

    (One call of `rng.random((n, ...))` each sees to that: a rank may then draw all tasks and keep its own.)

    sample_tasks(rng, n, split) -> tasks [n, k]
    examples(tasks, rng, shots, queries) -> support, query    `shots` and `queries` examples each (of each class)
    describe(task [k]) -> words                               the task for a picture's title
    """

    sample_tasks: Callable[[np.random.Generator, int, Split], NDArray[np.float64]]
    examples: Callable[[NDArray[np.float64], np.random.Generator, int, int], tuple[Examples, Examples]]
    describe: Callable[[NDArray[np.float64]], str]


class SupervisedTasks(NamedTuple):
    """What a dataset builds: tasks, and what a network, a loss and a method must know of them.

    A dataset that says this is all that a new one needs: nobody asks for its name.
    """

    distribution: TaskDistribution
    input_shape: tuple[int, ...]
    """Shape of one input, such as (1,) or (28, 28, 1)."""
    outputs: int
    """O: values that are predicted, or classes of a task."""
    kind: KindName
    """Which loss and which scores: a key of `losses.KINDS`."""
    shared_targets: bool
    """Whether targets mean the same in all tasks, so that one model can be trained on all of them without adaptation.
    Labels that number a task's classes do not."""
    examples_available: int | None = None
    """Support and query examples (of each class) that every task has at least; None: any number."""
    smallest_class: str = "class"
    """The class with the fewest examples, in words."""

    def require_examples(self, shots: int, queries: int) -> None:
        """Raise ValueError unless every task has so many examples (of each class)."""
        available = self.examples_available
        if available is not None and shots + queries > available:
            raise ValueError(
                f"shots and queries together must be at most {available}, the examples of the smallest "
                f"{self.smallest_class}; got {shots + queries}"
            )

    def with_task_in_inputs(self) -> "SupervisedTasks":
        """The same tasks for the oracle: every input [N, I] is followed by the k numbers of its task, [N, I + k].

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
