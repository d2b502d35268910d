"""Few-shot classification: a task is W classes, each with a rotation, in an order that gives their labels."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.arguments import require_integers, require_truths
from metarl.arrays import is_tensor
from metarl.kinds import is_of
from metarl.supervised.tasks import Examples, SupervisedTasks, TaskDistribution
from metarl.tasks import SPLITS, Split

WHITE = {"bool": 1.0, "uint8": 255.0, "uint16": 65535.0, "float32": 1.0, "float64": 1.0}  # type -> a white pixel
CHANNELS = (1, 3, 4)  # numbers of channels that images usually have
DARK = 8  # white, divided by the brightest pixel of images that are nearly black
LARGE = 16.0  # beyond it no image is that was normalised: pixels are


class ImageClasses(NamedTuple):
    """A dataset: images, class after class, and the classes of each split."""

    images: NDArray[Any]  # [I, height, width, channels] or other inputs [I, ...], values 0 .. `white`
    counts: NDArray[np.int64]  # number of images of each class
    splits: dict[Split, NDArray[np.int64]]  # indices of the classes of each split
    white: float  # the largest value that a pixel can have, which becomes 1
    names: Sequence[str] = ()  # names of the classes, where they have any


def few_shot(data: ImageClasses, *, ways: int, rotate: bool = False) -> SupervisedTasks:
    """Make tasks [n, 2 W]: W classes, then how often each is rotated by 90 degrees. Label i is the task's i-th class.

    Inputs are float32 [N, height, width, channels] in [0, 1], N = W x shots (or queries), class after class; targets
    are labels [N]. The images of a task's support and query are drawn without replacement.

    Args:
        data: images and splits.
        ways: W, classes per task.
        rotate: rotate every class of a task at random, which makes four classes of one (Omniglot).

    Raises:
        ValueError: a split has fewer classes than `ways`; (by `examples`) a class has fewer images than are drawn.
    """
    _require_ways(data, ways)
    first = np.concatenate([[0], np.cumsum(data.counts)[:-1]])

    def sample_tasks(rng: np.random.Generator, n: int, split: Split) -> NDArray[np.float64]:
        classes = data.splits[split]
        unit = rng.random((n, len(classes) + ways))
        chosen = classes[unit[:, : len(classes)].argsort(1)[:, :ways]]
        turns = np.floor(4 * unit[:, len(classes) :]) if rotate else np.zeros((n, ways))
        return np.concatenate([chosen, turns], axis=1).astype(np.float64)

    def examples(
        tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int
    ) -> tuple[Examples, Examples]:
        made.require_examples(shots, queries)
        chosen = tasks[:, :ways].astype(np.int64)
        turns = tasks[:, ways:].astype(np.int64)
        counts = data.counts[chosen][..., None]
        order = rng.random((*chosen.shape, data.counts.max()))
        # Numbers beyond the images of a smaller class are sorted to the end.
        order[np.arange(order.shape[-1]) >= counts] = 2.0
        picked = first[chosen][..., None] + order.argsort(-1)[..., : shots + queries]
        images = data.images[picked]  # [n, ways, shots + queries, H, W, C]
        if rotate:
            for turn in (1, 2, 3):
                images[turns == turn] = np.rot90(images[turns == turn], turn, axes=(2, 3))
        inputs = torch.from_numpy(images).float() / data.white
        labels = torch.arange(ways)[:, None].expand(len(tasks), ways, shots + queries)
        return _flat(inputs[:, :, :shots], labels[..., :shots]), _flat(inputs[:, :, shots:], labels[..., shots:])

    smallest = int(data.counts.argmin())
    made = SupervisedTasks(
        TaskDistribution(sample_tasks, examples, lambda task: f"{ways} classes"),
        input_shape=data.images.shape[1:],
        outputs=ways,
        kind="classification",
        shared_targets=False,
        examples_available=int(data.counts[smallest]),
        smallest_class=f"class ({data.names[smallest]})" if data.names else "class",
    )
    return made


def _require_ways(data: ImageClasses, ways: int) -> None:
    """Raise ValueError for a number of classes per task that a split does not have."""
    require_integers(0, ways=ways)
    for split, classes in data.splits.items():
        if len(classes) < 2:
            raise ValueError(
                f"few-shot tasks need at least 2 classes for {split}; {len(classes)} of {len(data.counts)} are: add "
                "classes, or give it a larger share"
            )
        if not 2 <= ways <= len(classes):
            raise ValueError(f"ways must be from 2 to {len(classes)}, the classes for {split}; got {ways}")


def few_shot_from_arrays(
    images: Any,
    labels: Any,
    *,
    ways: int,
    splits: Mapping[Split, Sequence[Any]] | None = None,
    shares: tuple[float, float, float] = (0.64, 0.16, 0.2),
    seed: int = 1,
    rotate: bool = False,
) -> SupervisedTasks:
    """Make few-shot tasks of your own images and labels, arrays or tensors.

    Args:
        images: [I, height, width, channels], [I, height, width] (grey) or feature vectors [I, D]. Integers of 8 or 16
            bits become values in [0, 1]; float32 and float64 stay as they are.
        labels: [I], numbers or words, in any order.
        ways: W, classes per task.
        splits: the labels of the classes for training, validation and test; None: classes are drawn.
        shares: without `splits`, the shares of the classes for training, validation and test.
        seed: key of the draw of the classes of each split.
        rotate: rotate every class of a task at random, which makes four classes of one.

    Raises:
        ValueError: the arrays' types or shapes do not fit, a value is not finite, a label is in two splits or has no
            image, or a split has fewer classes than `ways`.
    """
    require_truths(rotate=rotate)
    pixels, white = _checked_images(images)
    numbers = _checked_labels(labels, len(pixels))
    if rotate and (pixels.ndim != 4 or pixels.shape[1] != pixels.shape[2]):
        raise ValueError(f"rotate needs square images; got inputs of shape {list(pixels.shape[1:])}")
    names, classes, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    chosen: dict[Split, NDArray[np.int64]]
    require_integers(0, seed=seed)
    if splits is None:
        chosen = shuffled_splits(np.arange(len(names)), shares, seed)
    else:
        splits = _listed(splits)
        require_disjoint(splits)
        chosen = {split: _indices(names, splits, split) for split in SPLITS}
    ordered = pixels[np.argsort(classes, kind="stable")]
    return few_shot(
        ImageClasses(ordered, counts, chosen, white, [str(name) for name in names]), ways=ways, rotate=rotate
    )


def shuffled_splits(classes: NDArray[np.int64], shares: Sequence[float], seed: int) -> dict[Split, NDArray[np.int64]]:
    """Deal classes to the three splits after a shuffle by the seed; numbers of classes are rounded.

    Raises:
        ValueError: a share is not positive, or their sum is not 1.
    """
    is_given = isinstance(shares, Sequence | np.ndarray) and len(shares) == len(SPLITS)
    if not is_given or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares of the classes must be three positive numbers whose sum is 1; got {shares}")
    order = classes[np.random.default_rng(seed).permutation(len(classes))]
    bounds = np.round(np.cumsum(shares)[:-1] * len(classes)).astype(int)
    return dict(zip(SPLITS, np.split(order, bounds), strict=True))


def _listed(splits: Any) -> dict[Split, list[Any]]:
    """The labels of each split as a list, also where they come one by one. Raises ValueError if they are no labels."""
    is_named = isinstance(splits, Mapping)
    if not is_named:
        raise ValueError(f"splits must be lists of classes by name: {', '.join(SPLITS)}; got {type(splits).__name__}")
    for split in splits:
        if not hasattr(splits[split], "__iter__"):
            raise ValueError(f"splits must be lists of classes by name; {split} is {splits[split]!r}")
    return {split: list(splits[split]) for split in splits}


def require_disjoint(classes: Mapping[Split, Sequence[Any]]) -> None:
    """Raise ValueError if a class is in two splits, or twice in one."""
    seen: dict[Any, Split] = {}
    for split, names in classes.items():
        for name in names:
            if name in seen:
                raise ValueError(
                    f"class {name} is in two splits, {seen[name]} and {split}, and no class may be: few-shot learning "
                    "is tested on classes that training never saw"
                    if seen[name] != split
                    else f"class {name} is named twice in {split}"
                )
            seen[name] = split


def _checked_images(images: Any) -> tuple[NDArray[Any], float]:
    """Images as an array [I, H, W, C] or [I, D], and the value of a white pixel."""
    pixels = _array("images", images)
    kind = pixels.dtype.name
    if kind not in WHITE:
        hint = ": of pixels from 0 to 255 make uint8" if pixels.dtype.kind in "iu" else ""
        raise ValueError(f"images must be of one of the types {', '.join(WHITE)}; got {kind}{hint}")
    if pixels.ndim not in (2, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"images must have a shape [I, H, W, C], [I, H, W] or [I, D]; got {list(pixels.shape)}")
    if pixels.ndim == 4 and pixels.shape[-1] not in CHANNELS and pixels.shape[1] in CHANNELS:
        raise ValueError(
            f"images must have their channels last, [I, H, W, C]; got {list(pixels.shape)}: use movedim(1, -1)"
        )
    if pixels.dtype.kind == "u" and is_dark(pixels.max(), WHITE[kind]):
        warnings.warn(
            f"images of {kind} are divided by {WHITE[kind]:g}, and these reach {pixels.max()}, which is nearly black: "
            "hand over float32 from 0 to 1",
            stacklevel=3,
        )
    largest = max(float(pixels.max()), -float(pixels.min())) if pixels.dtype.kind == "f" else 0.0
    if not largest <= float(np.finfo(np.float32).max):
        raise ValueError(f"images must be finite numbers, also in float32; got {largest:g}")
    if pixels.ndim > 2 and largest > LARGE:
        warnings.warn(
            f"images of {kind} stay as they are, and these reach {largest:g}: networks are made for inputs around 1. "
            "Divide them, or hand over uint8, of which 255 becomes 1",
            stacklevel=3,
        )
    return (pixels[..., None] if pixels.ndim == 3 else pixels), WHITE[kind]


def is_dark(brightest: float, white: float) -> bool:
    """Whether images with such a brightest pixel are nearly black, as those that use a few bits of their type."""
    return brightest <= white / DARK


def _array(name: str, values: Any) -> NDArray[Any]:
    """An array of what users hand over: arrays, lists, tensors on any device. Raises ValueError for what makes none."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise ValueError(f"{name} must not be masked: leave out what is below the mask, or fill it")
    found: Any = values
    try:
        return np.asarray(found.detach().cpu() if is_tensor(found) else found)
    except (TypeError, ValueError, RuntimeError) as error:
        # Of other types than NumPy has, or of several shapes.
        raise ValueError(f"{name} must be one array of numbers that NumPy has: {error}") from error


def _checked_labels(labels: Any, count: int) -> NDArray[Any]:
    """Labels [I] as an array of whole numbers or words. Raises ValueError for any other, such as NaN or None."""
    array = _plain(_array("labels", labels))
    if array.shape != (count,):
        raise ValueError(f"labels must have one entry for each of the {count} images; got {list(array.shape)}")
    # NumPy makes words of numbers that stand beside words.
    is_mixed = array.dtype.kind == "U" and isinstance(labels, list | tuple) and any(map(_is_no_word, labels))
    if array.dtype.kind not in "biufU" or is_mixed:
        raise ValueError("labels must be all whole numbers, or all words, without None; got others, or both")
    strange = array[~(np.isfinite(array) & (array == np.floor(array)))] if array.dtype.kind == "f" else []
    if len(strange):
        raise ValueError(f"labels must be whole numbers, or words; got {strange[0]}")
    return array


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Words, or whole numbers, of dtype object, which pandas makes of texts, as an array of their own dtype."""
    items = array.ravel().tolist() if array.dtype.kind == "O" else []
    if items and (not any(map(_is_no_word, items)) or all(is_of(int, item) for item in items)):
        return np.array(items).reshape(array.shape)
    return array


def _is_no_word(label: Any) -> bool:
    return not isinstance(label, str)


def _indices(names: NDArray[Any], splits: Mapping[Split, Sequence[Any]], split: Split) -> NDArray[np.int64]:
    """The indices, among all names of classes, of the labels of one split."""
    if set(splits) != set(SPLITS):
        raise ValueError(f"splits must be {', '.join(SPLITS)}; got {', '.join(map(str, splits))}")
    known = {name: index for index, name in enumerate(names.tolist())}
    wanted = np.asarray(splits[split]).tolist()
    if missing := [name for name in wanted if name not in known]:
        raise ValueError(f"no image has the label {missing[0]!r}, which is named for {split}")
    return np.array([known[name] for name in wanted], np.int64)


def _flat(inputs: torch.Tensor, labels: torch.Tensor) -> Examples:
    """[n, ways, s, ...] -> [n, ways * s, ...]."""
    return Examples(inputs.flatten(1, 2), labels.flatten(1, 2))
