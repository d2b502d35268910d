"""The contract of a task distribution: what a family of supervised tasks has to say."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Split = Literal["train", "validation", "test"]


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
