"""Tasks and examples as a dataset's own functions draw them, made what a problem can train on.

Axes: M tasks, k numbers of each, N examples of each, O outputs.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.supervised.tasks import Examples, KindName, TaskDistribution
from metarl.tasks import Split

Both = tuple[Examples, Examples]  # support and query
SAME = (
    "must be the same for the same generator, or no run can be repeated: draw from rng, not from NumPy's or torch's "
    "global generator"
)


def draw_tasks(
    distribution: TaskDistribution, rng: np.random.Generator, count: int, split: Split
) -> NDArray[np.float64]:
    """Draw `count` tasks [count, k] of a split. Raises ValueError for anything but rows of finite numbers."""
    rows = np.asarray(distribution.sample_tasks(rng, count, split))
    is_right = rows.dtype.kind in "fiu" and rows.ndim == 2 and len(rows) == count and bool(np.isfinite(rows).all())
    if not is_right:
        raise ValueError(
            "sample_tasks(rng, n, split) must draw n tasks as rows of finite numbers [n, k]; asked for "
            f"{count} it drew {rows.dtype} {list(rows.shape)}"
        )
    return rows.astype(np.float64, copy=False)


def draw_examples(
    distribution: TaskDistribution,
    tasks: NDArray[np.float64],
    rng: np.random.Generator,
    shots: int,
    queries: int,
    kind: KindName,
    like: Tensor,
) -> Both:
    """Draw the support and the query of M tasks, as tensors of the dtype and on the device of `like`; labels int64.

    Raises:
        ValueError: what is drawn are not two pairs of inputs and targets, of M tasks and as many examples as asked for.
    """
    drawn = distribution.examples(tasks, rng, shots, queries)
    is_both = isinstance(drawn, tuple) and len(drawn) == 2 and all(isinstance(part, tuple) for part in drawn)
    if not is_both or any(len(part) != 2 for part in drawn):
        raise ValueError(
            "examples(tasks, rng, shots, queries) must give two Examples(inputs, targets), the support and the query"
        )
    classes = _classes(drawn[0][0], len(tasks), shots) if kind == "classification" else 1
    support, query = (
        _ready(words, part, len(tasks), classes * each, kind, like)
        for words, part, each in zip(("support", "query"), drawn, (shots, queries), strict=True)
    )
    return support, query


def _classes(inputs: Any, tasks: int, shots: int) -> int:
    """The number of classes that the support of a classification has; 1 where inputs are no array."""
    shape = list(getattr(inputs, "shape", (tasks, shots)))
    if len(shape) < 2:
        raise ValueError(
            f"support inputs must have the shape [{tasks}, N, ...], {tasks} tasks of N = classes x {shots} examples; "
            f"got {shape}"
        )
    return shape[1] // shots


def _ready(words: str, examples: Any, tasks: int, count: int, kind: KindName, like: Tensor) -> Examples:
    """Inputs [M, N, ...] and targets of so many tasks and examples of each. Raises ValueError for any others."""
    inputs, targets = (_tensor(f"{words} {name}", part) for name, part in zip(Examples._fields, examples, strict=True))
    is_classes = kind == "classification"
    for name, leaf in (("inputs", inputs), ("targets", targets)):
        if tuple(leaf.shape[:2]) != (tasks, count):
            each = "as many of each class as asked for, of " if is_classes else ""
            raise ValueError(
                f"{words} {name} must have the shape [{tasks}, {count}, ...], {each}the tasks and examples that were "
                f"asked for; got {list(leaf.shape)}"
            )
    if not inputs.is_floating_point():
        raise ValueError(f"{words} inputs must be of a floating dtype, such as float32; got {inputs.dtype}")
    if is_classes and (targets.is_floating_point() or targets.dim() != 2):
        raise ValueError(
            f"{words} targets must be labels, whole numbers [{tasks}, {count}]; got {targets.dtype} "
            f"{list(targets.shape)}"
        )
    moved = inputs.to(like.device, like.dtype)
    return Examples(moved, targets.to(like.device, torch.int64 if is_classes else like.dtype))


def _tensor(what: str, values: Any) -> Tensor:
    """Real numbers as a tensor without a gradient. Raises ValueError for what is neither tensor nor array of them."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub":
        # A copy in the machine's byte order, because torch takes no negative strides and warns of read-only arrays.
        return torch.from_numpy(np.array(values, values.dtype.newbyteorder("="), order="C"))
    if not isinstance(values, Tensor) or values.is_complex():
        got = str(values.dtype) if isinstance(values, Tensor | np.ndarray) else type(values).__name__
        raise ValueError(f"{what} must be a tensor of real numbers; got {got}")
    return values.detach()


def require_labels(outputs: int, *drawn: Examples) -> None:
    """Raise ValueError unless the labels of examples number the outputs of the network: 0 to `outputs` - 1."""
    for examples in drawn:
        low, high = (int(label) for label in torch.aminmax(examples.targets))
        if low < 0 or high >= outputs:
            right = f"0 to {outputs - 1}, for the {outputs} outputs of the network"
            raise ValueError(f"labels must be {right}; there are {low} to {high}")


def require_sound_tasks(drawn: NDArray[np.float64], again: NDArray[np.float64]) -> None:
    """Raise ValueError unless the tasks that equal generators draw are equal."""
    if not np.array_equal(drawn, again):
        raise ValueError(f"tasks {SAME}")


def require_sound_examples(drawn: Both, again: Both) -> None:
    """Look at the first examples of a training, drawn twice by equal generators.

    Raises:
        ValueError: they are not finite, or not the same.
    """
    for words, first, second in zip(("support", "query"), drawn, again, strict=True):
        if not all(bool(leaf.isfinite().all()) for leaf in first):
            raise ValueError(f"{words} examples must be finite numbers; got NaN or infinity")
        if not all(torch.equal(leaf, other) for leaf, other in zip(first, second, strict=True)):
            raise ValueError(f"{words} examples {SAME}")
