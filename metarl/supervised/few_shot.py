"""Few-shot classification: each task is W classes, each with its rotation, in an order that is their labels."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.supervised.tasks import Examples, Split, TaskDistribution

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class ImageClasses(NamedTuple):
    """A dataset: images class after class, and which classes each split has."""

    images: NDArray[np.uint8]  # [I, height, width, channels], values 0 .. `white`
    counts: NDArray[np.int64]  # images of each class
    splits: dict[Split, NDArray[np.int64]]  # indices of classes
    white: float  # the largest value a pixel can have, which becomes 1


def few_shot(data: ImageClasses, *, ways: int, rotate: bool) -> TaskDistribution:
    """Tasks [n, 2 ways]: the classes, then how often each is rotated by 90 degrees. Label i is the task's i-th class.

    Inputs are float32 [N, height, width, channels] in [0, 1], N = ways x shots (or queries), class after class; targets
    are labels [N].
    The images of a task's support and query are drawn without replacement.

    Args:
        data: images and splits.
        ways: W, classes per task.
        rotate: draw a rotation for each class of a task (Omniglot), which makes it another class.

    Raises:
        ValueError: more ways than a split has classes; (by `examples`) more shots than a class has images.
    """
    for split, classes in data.splits.items():
        if not 2 <= ways <= len(classes):
            raise ValueError(f"ways must be from 2 to {len(classes)}, the classes for {split}; got {ways}")
    first = np.concatenate([[0], np.cumsum(data.counts)[:-1]])

    def sample_tasks(rng: np.random.Generator, n: int, split: Split) -> NDArray[np.float64]:
        classes = data.splits[split]
        unit = rng.random((n, len(classes) + ways))
        chosen = classes[unit[:, : len(classes)].argsort(1)[:, :ways]]
        turns = np.floor(4 * unit[:, len(classes) :]) * rotate
        return np.concatenate([chosen, turns], axis=1).astype(np.float64)

    def examples(
        tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int
    ) -> tuple[Examples, Examples]:
        require_enough(data, shots + queries)
        chosen, turns = tasks[:, :ways].astype(np.int64), tasks[:, ways:].astype(np.int64)
        counts = data.counts[chosen][..., None]
        order = rng.random((*chosen.shape, data.counts.max()))
        order[np.arange(order.shape[-1]) >= counts] = 2.0  # beyond the images of a class with fewer: never first
        picked = first[chosen][..., None] + order.argsort(-1)[..., : shots + queries]
        images = data.images[picked]  # [n, ways, shots + queries, H, W, C]
        for turn in (1, 2, 3):
            images[turns == turn] = np.rot90(images[turns == turn], turn, axes=(2, 3))
        inputs = torch.from_numpy(images).float() / data.white
        labels = torch.arange(ways)[:, None].expand(len(tasks), ways, shots + queries)
        return _flat(inputs[:, :, :shots], labels[..., :shots]), _flat(inputs[:, :, shots:], labels[..., shots:])

    return TaskDistribution(sample_tasks, examples, lambda task: f"{ways} classes")


def require_enough(data: ImageClasses, images: int) -> None:
    """Raises ValueError unless every class has so many images."""
    if images > data.counts.min():
        raise ValueError(
            f"shots and queries together must be at most {data.counts.min()}, the images of the smallest class; "
            f"got {images}"
        )


def _flat(inputs: torch.Tensor, labels: torch.Tensor) -> Examples:
    """[n, ways, s, ...] -> [n, ways * s, ...]."""
    return Examples(inputs.flatten(1, 2), labels.flatten(1, 2))
