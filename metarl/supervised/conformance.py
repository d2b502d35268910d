"""Public check of datasets, for those who write one: `check_dataset`, on a few tasks."""

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.arguments import require, require_parts
from metarl.supervised.losses import KINDS
from metarl.supervised.tasks import Examples, SupervisedTasks
from metarl.surroundings import usual_torch
from metarl.tasks import SPLITS, Split

FEW = 3  # tasks
MANY = 7  # tasks, of which the first must be the few


class Counts(NamedTuple):
    """Examples (of each class) that a check draws of every task."""

    shots: int = 1
    queries: int = 2


@usual_torch()
def check_dataset(dataset: Any) -> SupervisedTasks:
    """Raise ValueError where a dataset does not do what problems rely on; otherwise return what it builds.

    The check looks at shapes, types and finite values of tasks and examples. Equal generators must give equal tasks and
    examples; task i and its examples must not depend on how many tasks are drawn; support and query of a task must be
    different examples; and no class of a classification may be in two splits.

    Args:
        dataset: the options of a dataset: a part, with a method `build`.
    """
    require_parts(dataset=dataset)
    made = dataset.build()
    require(isinstance(made, SupervisedTasks), f"build must give SupervisedTasks; got {type(made).__name__}")
    require(made.kind in KINDS, f"kind must be one of {', '.join(KINDS)}; got {made.kind!r}")
    counts = Counts()
    made.require_examples(*counts)
    require_contract(made, counts)
    return made


def require_contract(made: SupervisedTasks, counts: Counts) -> None:
    """Raise ValueError where tasks, of which there are enough examples, do not do what problems rely on."""
    for split in SPLITS:
        _check_tasks(made, split)
        _check_examples(made, split, counts)
    if made.kind == "classification":
        _check_labels(made, counts)
        _check_disjoint(made, counts)
    if made.shared_targets and len(made.input_shape) == 1:
        oracle = made.with_task_in_inputs()
        _check_examples(oracle, "train", counts)


def complaint(made: SupervisedTasks, shots: int, queries: int) -> str | None:
    """What `check_dataset` would say of tasks, of which it draws as many examples as a run; None if nothing.

    An error of the dataset's own is told, too.
    """
    available = made.examples_available
    if available is not None and available < shots + queries:
        return None
    try:
        require_contract(made, Counts(shots, queries))
    except ValueError as error:
        return str(error)
    except Exception as error:  # a dataset may raise anything here, and a check must not end a training that works
        return f"{type(error).__name__}: {error}"
    return None


def _check_tasks(made: SupervisedTasks, split: Split) -> None:
    few, again, many = (_tasks(made, split, n) for n in (FEW, FEW, MANY))
    require(isinstance(few, np.ndarray), f"sample_tasks must give an array; got {type(few).__name__} ({split})")
    require(
        few.dtype == np.float64 and few.ndim == 2 and len(few) == FEW and len(many) == MANY,
        f"sample_tasks must give float64 [n, k] for n = {FEW}; got {few.dtype} {list(few.shape)} ({split})",
    )
    require(bool(np.isfinite(many).all()), f"tasks must be finite numbers ({split})")
    require(np.array_equal(few, again), f"sample_tasks must give the same for the same generator ({split})")
    require(
        np.array_equal(few, many[:FEW]),
        f"task i must not depend on how many are drawn: draw all numbers by one rng.random((n, ...)) ({split})",
    )
    require(len(np.unique(many, axis=0)) > 1, f"tasks must differ; {MANY} of them are the same ({split})")
    if split == "train":
        # Validation and test tasks may be fixed ones.
        others = made.distribution.sample_tasks(np.random.default_rng(3), MANY, split)
        differ = not np.array_equal(many, others)
        require(differ, f"sample_tasks must give others for another generator: draw by rng ({split})")
    words = made.distribution.describe(few[0])
    require(isinstance(words, str) and words != "", f"describe must give the task in words; got {words!r}")


def _check_examples(made: SupervisedTasks, split: Split, counts: Counts) -> None:
    few = _tasks(made, split, FEW)
    many = _tasks(made, split, MANY)
    drawn, again, of_many = (_draw(made, tasks, counts) for tasks in (few, few, many))
    for words, examples, repeated, more, each in zip(("support", "query"), drawn, again, of_many, counts, strict=True):
        inputs, targets = examples
        count = each * (made.outputs if made.kind == "classification" else 1)
        expected = (FEW, count, *made.input_shape)
        require(
            inputs.dtype == torch.float32 and inputs.shape == expected,
            f"{words} inputs must be float32 {list(expected)}; got {inputs.dtype} {list(inputs.shape)}",
        )
        _require_targets(made, words, targets, (FEW, count))
        require(bool(inputs.isfinite().all() and targets.isfinite().all()), f"{words} examples must be finite")
        require(_same(examples, repeated), f"examples must be the same for the same generator ({words}, {split})")
        require(
            _same(examples, Examples(more.inputs[:FEW], more.targets[:FEW])),
            "examples of task i must not depend on how many tasks there are: draw all numbers by one "
            f"rng.random((n, ...)) ({words}, {split})",
        )
    shared = (_keys(support) & _keys(query) for support, query in zip(*(part.inputs for part in drawn), strict=True))
    require(not any(shared), f"support and query of a task must be different examples ({split})")


def _require_targets(made: SupervisedTasks, words: str, targets: Tensor, leading: tuple[int, int]) -> None:
    if made.kind == "classification":
        expected = torch.int64
        right = leading
    else:
        expected = torch.float32
        right = (*leading, made.outputs)
    require(
        targets.dtype == expected and targets.shape == right,
        f"{words} targets must be {expected} {list(right)}; got {targets.dtype} {list(targets.shape)}",
    )


def _check_labels(made: SupervisedTasks, counts: Counts) -> None:
    """Check that every class of a task has as many examples as were asked for, under its label."""
    for each, examples in zip(counts, _draw(made, _tasks(made, "train", FEW), counts), strict=True):
        for targets in examples.targets:
            found = torch.bincount(targets.clamp(min=0), minlength=made.outputs).tolist()
            require(
                found == [each] * made.outputs,
                f"{each} examples of each of {made.outputs} classes must be labelled 0 to {made.outputs - 1}; labels "
                f"are {targets.tolist()}",
            )


def _check_disjoint(made: SupervisedTasks, counts: Counts) -> None:
    """Check that no example of a task of one split is an example of a task of another split."""
    seen: dict[bytes, Split] = {}
    for split in SPLITS:
        for examples in _draw(made, _tasks(made, split, MANY), counts):
            for key in _keys(examples.inputs.flatten(0, 1)):
                before = seen.setdefault(key, split)
                require(before == split, f"an example of {before} is one of {split} too: splits must share no classes")


def _keys(inputs: Tensor) -> set[bytes]:
    """A short key of each input [N, ...]: there may be too many to compare all with all, or to keep them."""
    return {hashlib.sha256(one.detach().numpy().tobytes()).digest() for one in inputs}


def _tasks(made: SupervisedTasks, split: Split, n: int) -> Any:
    return made.distribution.sample_tasks(np.random.default_rng(1), n, split)


def _draw(made: SupervisedTasks, tasks: Any, counts: Counts) -> tuple[Examples, Examples]:
    return made.distribution.examples(tasks, np.random.default_rng(2), *counts)


def _same(examples: Examples, other: Examples) -> bool:
    return torch.equal(examples.inputs, other.inputs) and torch.equal(examples.targets, other.targets)
