"""MiniImagenet (Vinyals et al. 2016, split of Ravi and Larochelle 2017): 64 / 16 / 20 classes of 84 x 84 colour images.

The images cannot be downloaded from here: ImageNet's licence forbids to hand them on.
"""

import csv
import io
import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.files import atomic, write_atomically
from metarl.supervised.archives import decode
from metarl.supervised.few_shot import SPLITS, ImageClasses

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
    mini-imagenet-cache-{train,val,test}.pkl. Pixels are memory-mapped (1.3 GB).

    Raises:
        ValueError: no such layout, or a file that is missing, damaged or foreign; names which.
        OSError: the cache cannot be written.
    """
    if not place.is_dir():
        raise ValueError(f"there is no folder {place}: MiniImagenet is expected there, as {LAYOUTS}")
    if not (place / CLASSES).is_file():
        _write_cache(place, [one for split in SHORT for one in _classes(place, split)])
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
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"filename", "label"} <= set(rows[0]):
        raise ValueError(f"{table} must have the columns filename and label, and rows")
    found: dict[str, list[Path]] = {}
    for row in rows:
        path = folder / row["filename"]
        if not path.is_file():
            raise ValueError(f"{table} names {row['filename']}, which is not in {folder}")
        found.setdefault(row["label"], []).append(path)
    return found


def _decode(path: Path) -> NDArray[np.uint8]:
    def convert(image: Image.Image) -> Image.Image:
        return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)

    return decode(str(path), path.read_bytes(), convert)


class _ArraysAlone(pickle.Unpickler):
    """Admits numpy arrays and plain containers: a pickle can otherwise run anything."""

    ADMITTED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("_codecs", "encode"),  # how protocol 2 writes bytes
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        """The admitted globals. Raises UnpicklingError for any other."""
        if (module_name, global_name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, and only numpy arrays are admitted")
        return super().find_class(module_name.replace("numpy.core", "numpy._core"), global_name)


def _from_pickle(path: Path, split: str) -> list[Class]:
    """A cache {"image_data": uint8 [n, 84, 84, 3], "class_dict": {class: indices}}."""
    try:
        content = _ArraysAlone(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        images, classes = content["image_data"], content["class_dict"]
        if images.dtype != np.uint8 or images.shape[1:] != (SIZE, SIZE, 3):
            raise ValueError(f"image_data must be uint8 [n, {SIZE}, {SIZE}, 3]; got {images.dtype} {images.shape}")
        return [Class(split, name, [lambda i=i: images[i] for i in indices]) for name, indices in classes.items()]
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(f"{path} is not a MiniImagenet cache: {error}") from error


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
