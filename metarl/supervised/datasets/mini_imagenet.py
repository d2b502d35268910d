"""MiniImagenet (Vinyals et al. 2016, split of Ravi and Larochelle 2017): 64 / 16 / 20 classes of 84 x 84 colour images.

The images are not downloaded, because ImageNet's licence does not allow to hand them on.
"""

import csv
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.arguments import path_of
from metarl.parts import MAY_CHANGE
from metarl.supervised.archives import contents, decode
from metarl.supervised.datasets import DATASETS, ImagesOnDisk
from metarl.supervised.few_shot import ImageClasses, few_shot, require_disjoint
from metarl.supervised.image_cache import CachedImages, WriteClass, cached
from metarl.supervised.pickles import read_pickle
from metarl.supervised.pixels import pixels
from metarl.supervised.tasks import SupervisedTasks
from metarl.tasks import SPLITS, Split

SIZE = 84
SHORT: dict[Split, str] = {"train": "train", "validation": "val", "test": "test"}  # how the layouts name the splits
PICKLES = (  # names in two well-known preparations, and plain names
    "mini-imagenet-cache-{}.pkl",
    "miniImageNet_category_split_{}.pickle",
    "{}.pkl",
    "{}.pickle",
)
TABLES = ("{}.csv", "split/{}.csv", "splits/{}.csv")  # beside images/
LAYOUTS = (
    "{train,val,test}.csv beside images/, folders {train,val,test}/CLASS/, mini-imagenet-cache-{train,val,test}.pkl, "
    "or miniImageNet_category_split_{train_phase_train,val,test}.pickle"
)
SUFFIXES = (".jpg", ".jpeg", ".png")


@DATASETS.register("mini_imagenet")
@dataclass(frozen=True, kw_only=True)
class MiniImagenet(ImagesOnDisk):
    """100 classes of ImageNet, 84 x 84 in colour; you must have the images, in one of the usual layouts."""

    data_dir: Annotated[str, MAY_CHANGE] = "data/mini_imagenet"
    """Folder with the images in one of the usual layouts: tables beside images/, folders of classes, or pickles."""

    def build(self) -> SupervisedTasks:
        """Make tasks of `ways` classes, which are not rotated."""
        return few_shot(load(path_of("data_dir", self.data_dir), self.cache_dir), ways=self.ways)


class Class(NamedTuple):
    """One class of one split."""

    name: str
    images: Sequence[Callable[[], NDArray[np.uint8]]]  # each reads one [84, 84, 3]


class Layout(NamedTuple):
    """How one split lies in a folder."""

    files: list[Path]  # all files that are decoded
    classes: Callable[[], list[Class]]


def load(place: Path, cache_dir: str | None = None) -> ImageClasses:
    """Read the dataset from a folder in one of LAYOUTS; images are decoded once into the cache (1.3 GB, memory-mapped).

    Raises:
        ValueError: the folder has none of the layouts, or a file is missing, damaged or foreign; the message names it.
        OSError: the cache cannot be written.
    """
    if not place.is_dir():
        raise ValueError(f"there is no folder {place}: MiniImagenet is expected there, as {LAYOUTS}")
    layouts: dict[Split, Layout] = {split: _layout(place, split) for split in SPLITS}
    files = [(str(path.relative_to(place)), path) for layout in layouts.values() for path in layout.files]
    return image_classes(
        cached("mini_imagenet", files, {"size": SIZE}, cache_dir, lambda write: _decode(layouts, write))
    )


def image_classes(found: CachedImages) -> ImageClasses:
    """The dataset of cached images whose splits are known."""
    belongs = np.array(found.splits)
    classes: dict[Split, NDArray[np.int64]] = {split: np.flatnonzero(belongs == split) for split in SPLITS}
    return ImageClasses(found.images, found.counts, classes, white=255.0, names=found.names)


def _decode(layouts: dict[Split, Layout], write: WriteClass) -> str:
    """Give every class of every split to the cache."""
    classes: dict[Split, list[Class]] = {split: layout.classes() for split, layout in layouts.items()}
    require_disjoint({split: [member.name for member in members] for split, members in classes.items()})
    for split, members in classes.items():
        for member in members:
            write(member.name, split, np.stack([read() for read in member.images]))
    return ""


def _layout(place: Path, split: Split) -> Layout:
    """How a split lies in the folder."""
    short = SHORT[split]
    folder = place / SHORT[split]
    for name in TABLES:
        table = place / name.format(short)
        if table.is_file():
            by_label = _from_table(table, place / "images")
            return Layout([table, *_all(by_label)], functools.partial(_classes, table, by_label))
    if folder.is_dir():
        by_folder = {
            class_folder.name: [path for path in sorted(class_folder.iterdir()) if path.suffix.lower() in SUFFIXES]
            for class_folder in sorted(folder.iterdir())
            if class_folder.is_dir() and not class_folder.name.startswith(".")
        }
        return Layout(_all(by_folder), functools.partial(_classes, folder, by_folder))
    for pattern in PICKLES:
        for name in ("train_phase_train", short) if split == "train" else (short,):
            pickle = place / pattern.format(name)
            if pickle.is_file():
                return Layout([pickle], functools.partial(_from_pickle, pickle, split))
    raise ValueError(
        f"{place} has neither {short}.csv nor {short}/ nor mini-imagenet-cache-{short}.pkl: it {contents(place)}; "
        f"expected {LAYOUTS}"
    )


def _all(found: dict[str, list[Path]]) -> list[Path]:
    return [path for paths in found.values() for path in paths]


def _classes(where: Path, found: dict[str, list[Path]]) -> list[Class]:
    """Make classes of image files by class. Raises ValueError for a class without images."""
    if not found:
        raise ValueError(f"{where} names no classes")
    if empty := [name for name, paths in found.items() if not paths]:
        raise ValueError(f"{where}: class {empty[0]} has no images ({', '.join(SUFFIXES)})")
    return [Class(name, [lambda path=path: _read(path) for path in paths]) for name, paths in found.items()]


def _from_table(table: Path, folder: Path) -> dict[str, list[Path]]:
    """Read a table of image files: label -> the files in `folder`."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{table} is not a table of text: {error}") from error
    if not rows or not {"filename", "label"} <= set(rows[0]):
        raise ValueError(f"{table} must have the columns filename and label, and rows")
    found: dict[str, list[Path]] = {}
    for number, row in enumerate(rows, start=2):
        if not row["filename"] or not row["label"]:
            raise ValueError(f"{table}, line {number}: filename or label is missing")
        path = folder / row["filename"]
        if not path.is_file():
            raise ValueError(f"{table} names {row['filename']}, which is not in {folder}")
        found.setdefault(row["label"], []).append(path)
    return found


def _read(path: Path) -> NDArray[np.uint8]:
    def convert(image: Image.Image) -> NDArray[np.uint8]:
        return pixels(image, SIZE, channels=3)

    return decode(str(path), path.read_bytes(), convert)


def _from_pickle(path: Path, split: Split) -> list[Class]:
    """Read the classes from a pickle that has labels (`_by_labels`) or indices by class (`_by_class_dict`)."""
    content = read_pickle(path)
    try:
        images, indices = (_by_labels if "labels" in content else _by_class_dict)(content, split)
        if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"images must be uint8 [n, {SIZE}, {SIZE}, 3]; got {images.dtype} {images.shape}")
        every = np.concatenate(list(indices.values()))
        if len(set(every.tolist())) < every.size or every.min() < 0 or every.max() >= len(images):
            raise ValueError(f"classes must have indices below {len(images)}, none twice")
        if any(not isinstance(name, str) or some.ndim != 1 or some.size == 0 for name, some in indices.items()):
            raise ValueError("there must be a list of indices for the name of each class")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path} is not a pickle of MiniImagenet (image_data, class_dict; or data, labels): {error}"
        ) from error
    return [Class(name, [lambda i=i: images[i] for i in some]) for name, some in indices.items()]


def _by_class_dict(content: Any, split: Split) -> tuple[NDArray[Any], dict[Any, NDArray[np.int64]]]:
    """Images and indices by class of {"image_data": uint8 [n, 84, 84, 3], "class_dict": {class: indices}}."""
    return content["image_data"], {name: np.array(some, np.int64) for name, some in content["class_dict"].items()}


def _by_labels(content: Any, split: Split) -> tuple[NDArray[Any], dict[Any, NDArray[np.int64]]]:
    """Images and indices by class of {"data": uint8 [n, 84, 84, 3], "labels": [n numbers]}, maybe with class names."""
    images = np.asarray(content["data"])
    labels = np.asarray(content["labels"])
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(f"there must be a number for each of the {len(images)} images; got {labels.shape}")
    names = content.get("label2catname", {})
    numbers: Iterable[int] = np.unique(labels).tolist()
    # Numbers may start again in each split, so that a class without a name is called after its split too.
    return images, {str(names.get(n, f"{split} {n}")): np.flatnonzero(labels == n) for n in numbers}
