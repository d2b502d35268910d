"""MiniImagenet (Vinyals et al. 2016, split of Ravi and Larochelle 2017): 64 / 16 / 20 classes of 84 x 84 colour images.

The images cannot be downloaded from here: ImageNet's licence forbids to hand them on.
"""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.files import atomic, write_atomically
from metarl.supervised.archives import decode
from metarl.supervised.few_shot import SPLITS, ImageClasses
from metarl.supervised.pickles import read_pickle

SIZE = 84
IMAGES, CLASSES = "mini_imagenet84.npy", "mini_imagenet84.json"  # the cache: pixels, and whose they are
SHORT = {"train": "train", "validation": "val", "test": "test"}  # how the layouts name the splits
LAYOUTS = (
    "{train,val,test}.csv beside images/, folders {train,val,test}/CLASS/, or mini-imagenet-cache-{train,val,test}.pkl"
)


class Class(NamedTuple):
    """One class of one split."""

    split: str
    name: str
    images: list[Callable[[], NDArray[np.uint8]]]  # each reads one [84, 84, 3]


def load(place: Path) -> ImageClasses:
    """Read the dataset from a folder in one of the layouts that people have; decoded once into a cache there.

    The layouts: train.csv, val.csv, test.csv (filename,label) beside images/; folders {train,val,test}/CLASS/*.jpg;
    mini-imagenet-cache-{train,val,test}.pkl. Pixels are memory-mapped (1.3 GB). Delete the cache when files change.

    Raises:
        ValueError: no such layout, or a file that is missing, damaged or foreign; names which.
        OSError: the cache cannot be written.
    """
    if not place.is_dir():
        raise ValueError(f"there is no folder {place}: MiniImagenet is expected there, as {LAYOUTS}")
    if not (place / CLASSES).is_file():
        classes = [one for split in SHORT for one in _classes(place, split)]
        names = [one.name for one in classes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{place}: class {twice[0]} is in two splits, and no class may be")
        _write_cache(place, classes)
    return _read_cache(place)


def _classes(place: Path, split: str) -> list[Class]:
    """The classes of a split, from whichever layout the folder has."""
    short = SHORT[split]
    table, folder, cache = place / f"{short}.csv", place / short, place / f"mini-imagenet-cache-{short}.pkl"
    if table.is_file():
        found = _from_table(table, place / "images")
    elif folder.is_dir():
        found = {
            one.name: [path for path in sorted(one.iterdir()) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
            for one in sorted(folder.iterdir())
            if one.is_dir()
        }
    elif cache.is_file():
        return _from_pickle(cache, split)
    else:
        raise ValueError(f"{place} has neither {table.name} nor {folder.name}/ nor {cache.name}: expected {LAYOUTS}")
    if not found:
        raise ValueError(f"{table if table.is_file() else folder} names no classes")
    if empty := [name for name, paths in found.items() if not paths]:
        raise ValueError(f"{folder}: class {empty[0]} has no images (.jpg, .jpeg, .png)")
    return [Class(split, name, [lambda path=path: _decode(path) for path in paths]) for name, paths in found.items()]


def _from_table(table: Path, folder: Path) -> dict[str, list[Path]]:
    """Image files by label."""
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


def _decode(path: Path) -> NDArray[np.uint8]:
    def convert(image: Image.Image) -> Image.Image:
        return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)

    return decode(str(path), path.read_bytes(), convert)


def _from_pickle(path: Path, split: str) -> list[Class]:
    """A cache {"image_data": uint8 [n, 84, 84, 3], "class_dict": {class: indices}}."""
    content = read_pickle(path)
    try:
        images, classes = content["image_data"], content["class_dict"]
        if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"image_data must be uint8 [n, {SIZE}, {SIZE}, 3]; got {images.dtype} {images.shape}")
        indices = {name: np.array(some, np.int64) for name, some in classes.items()}
        every = np.concatenate(list(indices.values()))
        if len(set(every.tolist())) < every.size or every.min() < 0 or every.max() >= len(images):
            raise ValueError(f"class_dict must have indices below {len(images)}, none twice")
        if any(not isinstance(name, str) or some.ndim != 1 or some.size == 0 for name, some in indices.items()):
            raise ValueError("class_dict must have a list of indices for the name of each class")
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path} is not a MiniImagenet cache (image_data, class_dict): {error}") from error
    return [Class(split, name, [lambda i=i: images[i] for i in some]) for name, some in indices.items()]


def _write_cache(place: Path, classes: list[Class]) -> None:
    """Pixels as one .npy, image after image, then whose they are: whoever finds the second finds the first."""
    counts = [len(one.images) for one in classes]
    with atomic(place / IMAGES) as file:
        shape = (sum(counts), SIZE, SIZE, 3)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for read in _readers(classes):
            file.write(read().tobytes())
    document = {"counts": counts, "splits": [one.split for one in classes], "names": [one.name for one in classes]}
    write_atomically(place / CLASSES, (json.dumps(document, indent=1) + "\n").encode())


def _readers(classes: list[Class]) -> Iterator[Callable[[], NDArray[np.uint8]]]:
    for one in classes:
        yield from one.images


def _read_cache(place: Path) -> ImageClasses:
    try:
        document = json.loads((place / CLASSES).read_text())
        counts, splits = np.array(document["counts"]), np.array(document["splits"])
        images = np.load(place / IMAGES, mmap_mode="r", allow_pickle=False)
        if images.shape != (counts.sum(), SIZE, SIZE, 3) or images.dtype != np.uint8:
            raise ValueError(f"{IMAGES} must be uint8 [{counts.sum()}, {SIZE}, {SIZE}, 3]; got {images.shape}")
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ValueError(f"{place / CLASSES} and {IMAGES} are no cache of metarl: delete them ({error})") from error
    return ImageClasses(images, counts, {split: np.flatnonzero(splits == split) for split in SPLITS}, white=255.0)
