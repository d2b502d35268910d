"""Families of functions of one variable: a task is the parameters of one function."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.supervised.tasks import Examples, SupervisedTasks, TaskDistribution
from metarl.tasks import Split

Range = tuple[float, float]


def function_regression(
    function: Callable[..., NDArray[np.float64]], parameters: Mapping[str, Range], inputs: Range
) -> SupervisedTasks:
    """Make tasks of fitting y = function(x, parameters ...), with parameters and x drawn uniformly from their ranges.

    Tasks are [n, k], inputs x and targets y [N, 1], float32. All three splits draw from the same ranges.

    Args:
        function: takes x and each parameter as arrays that broadcast against each other.
        parameters: name -> range of each of the function's parameters, in their order.
        inputs: range of x.

    Raises:
        ValueError: there are no parameters, or a range is not finite or has its ends in the wrong order.
    """
    _require_ranges(parameters, inputs)
    lows, highs = np.transpose(list(parameters.values()))

    def sample_tasks(rng: np.random.Generator, n: int, split: Split) -> NDArray[np.float64]:
        return lows + rng.random((n, len(parameters))) * (highs - lows)

    def examples(
        tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int
    ) -> tuple[Examples, Examples]:
        low, high = inputs
        x = low + rng.random((len(tasks), shots + queries, 1)) * (high - low)
        # A copy, because a function may change its argument in place.
        y = np.asarray(function(x.copy(), *(tasks[:, None, i : i + 1] for i in range(len(parameters)))))
        if y.shape != x.shape or y.dtype.kind not in "fiub":
            raise ValueError(
                f"function must make an array of real numbers of x, of its shape {list(x.shape)}; got {y.dtype} "
                f"{list(y.shape)}: take NumPy's functions, in which x and the parameters broadcast"
            )
        drawn = torch.from_numpy(x).float()
        targets = torch.from_numpy(y).float()
        return Examples(drawn[:, :shots], targets[:, :shots]), Examples(drawn[:, shots:], targets[:, shots:])

    def describe(task: NDArray[np.float64]) -> str:
        return ", ".join(f"{name} {value:.2f}" for name, value in zip(parameters, task, strict=True))

    return SupervisedTasks(
        TaskDistribution(sample_tasks, examples, describe),
        input_shape=(1,),
        outputs=1,
        kind="regression",
        shared_targets=True,
    )


def _require_ranges(parameters: Mapping[str, Range], inputs: Range) -> None:
    """Raise ValueError unless there are parameters, and all ranges are two finite numbers in order."""
    if not parameters:
        raise ValueError("a family of functions needs at least one parameter, whose values make its tasks; got none")
    is_named = isinstance(parameters, Mapping)
    if not is_named:
        raise ValueError(f"parameters must be ranges by name, such as {{'slope': (0, 1)}}; got {parameters!r}")
    for name, ends in {**parameters, "the input": inputs}.items():
        values = np.asarray(ends)
        is_range = values.shape == (2,) and values.dtype.kind in "fiu" and -np.inf < values[0] < values[1] < np.inf
        if not is_range:
            words = ", ".join(map(str, values)) if values.ndim == 1 else repr(ends)
            raise ValueError(f"the range of {name} must be two finite numbers, the smaller first; got {words}")
