"""Sources of supervised tasks, one dataset a file, its options beside it.

A dataset of your own is a dataclass with a method `build`, or a function, that gives `SupervisedTasks`. It is chosen as
MODULE:NAME. The keyword-only parameters of a function are its options:

    def lines(*, steepest: float = 3.0) -> SupervisedTasks:
        '''Fitting y = a x + b.'''
        ranges = {"a": (-steepest, steepest), "b": (-1.0, 1.0)}
        return function_regression(lambda x, a, b: a * x + b, ranges, inputs=(-5.0, 5.0))

`few_shot.few_shot_from_arrays` makes the tasks of a classification from arrays, and `conformance.check_dataset` says
whether a dataset keeps the contract.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

from metarl.parts import MAY_CHANGE, Part, Registry, at_least
from metarl.supervised.tasks import KindName, SupervisedTasks


class Dataset(Part, ABC):
    """Base of the datasets' options."""

    kind: ClassVar[KindName]
    """The kind of problem, which decides the loss and the scores, known before anything is built."""

    @abstractmethod
    def build(self) -> SupervisedTasks:
        """Make the tasks.

        Raises:
            ValueError: data are missing or cannot be read, or a split has fewer classes than a task.
            OSError: the cache cannot be written.
        """


@dataclass(frozen=True, kw_only=True)
class ImagesOnDisk(Dataset):
    """Options that all datasets of images on a disk share."""

    kind: ClassVar[KindName] = "classification"

    data_dir: Annotated[str, MAY_CHANGE]
    """Folder with the images. Only downloads are written there, so that a folder with images may be read-only."""
    cache_dir: Annotated[str | None, MAY_CHANGE] = None
    """Folder for the decoded images. Default: metarl in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache)."""
    ways: Annotated[int, at_least(2)] = 5
    """N: classes per task."""


DATASETS: Registry[Dataset] = Registry("dataset", "metarl.supervised.datasets", base=Dataset)
