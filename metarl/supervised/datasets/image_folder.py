"""Your own images: each folder that holds images is a class."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from metarl.arguments import path_of, require_room
from metarl.parts import MAY_CHANGE, Bound, at_least
from metarl.supervised.archives import contents, dead_links, decode, files_in, is_hidden
from metarl.supervised.datasets import DATASETS, ImagesOnDisk
from metarl.supervised.few_shot import WHITE, ImageClasses, few_shot, is_dark, require_disjoint, shuffled_splits
from metarl.supervised.image_cache import CachedImages, WriteClass, cached
from metarl.supervised.pixels import pixels
from metarl.supervised.tasks import SupervisedTasks
from metarl.tasks import SPLITS, Split

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
LAYOUTS = "CLASS/*, or train/CLASS/*, validation/CLASS/* and test/CLASS/*"
BELOW_1 = Bound(lambda value: 0 < value < 1, "between 0 and 1")


@DATASETS.register("image_folder")
@dataclass(frozen=True, kw_only=True)
class ImageFolder(ImagesOnDisk):
    """Your own images: each folder that holds images is a class.

    Images may be grey, 16-bit or coloured, in any format that Pillow reads. Of several frames the first is taken,
    images are turned as the camera says, transparent pixels become white, and proportions are not kept. Hidden files,
    files that are no images, images outside class folders and classes with too few images are left out, with a warning.
    """

    data_dir: Annotated[str, MAY_CHANGE] = "data/images"
    """Folder with CLASS/*; or, to choose the splits yourself, with train/CLASS/*, validation/CLASS/*, test/CLASS/*."""
    image_size: Annotated[int, at_least(1)] = 84
    """Height and width that images are resized to, in pixels."""
    channels: Literal[1, 3] = 3
    """1: grey. 3: red, green, blue."""
    least_images: Annotated[int, at_least(2)] = 2
    """Classes with fewer images are left out."""
    rotate: bool = False
    """Turn each class of a task by 0, 90, 180 or 270 degrees, which makes four classes of one."""
    split_shares: Annotated[tuple[float, float, float], BELOW_1] = (0.64, 0.16, 0.2)
    """Without folders train, validation and test: which shares of the classes are for each."""
    split_seed: Annotated[int, at_least(0)] = 1
    """Seed of the draw of those classes. It does not follow a run's seed, so that runs can be compared."""

    def build(self) -> SupervisedTasks:
        """Make tasks of `ways` classes."""
        place = path_of("data_dir", self.data_dir)
        if not place.is_dir():
            what = (
                f"{place} is a file, which must be unpacked first" if place.is_file() else f"there is no folder {place}"
            )
            raise ValueError(f"{what}: images are expected there, as {LAYOUTS}")
        place = _without_wrapping(place)
        files, left_out = _images(place)
        most = max(Counter(path.parent for path in files).values(), default=0)
        size = self.image_size**2 * (4 + self.channels * most)  # bytes: one image of Pillow's, and those of a class
        require_room(size, f"image_size {self.image_size}: the images of a class")
        how = {"size": self.image_size, "channels": self.channels, "least": self.least_images}
        listed = [(str(path), place / path) for path in files]
        found = cached("image_folder", listed, how, self.cache_dir, lambda write: self._decode(place, files, write))
        left_out_inside, _, remark = found.note.partition("\n")
        words = ", ".join(filter(None, [*left_out, left_out_inside]))
        if notes := "; ".join(filter(None, [words and f"left out {words}", remark])):
            warnings.warn(f"{place}: {notes}", stacklevel=2)
        return few_shot(
            _with_splits(place, found, self.split_shares, self.split_seed), ways=self.ways, rotate=self.rotate
        )

    def _decode(self, place: Path, files: list[PurePosixPath], write: WriteClass) -> str:
        """Give every class to the cache, and return what was left out, in words; on a second line what is odd."""
        by_class: dict[PurePosixPath, list[PurePosixPath]] = {}
        for path in files:
            by_class.setdefault(path.parent, []).append(path)
        unreadable: list[str] = []
        small: list[str] = []
        first: dict[bytes, PurePosixPath] = {}  # where a file's content was met first, by its digest
        twice: list[str] = []  # in two classes
        copies: list[str] = []  # within a class
        brightest = 0
        for folder, paths in by_class.items():
            images = []
            for path in paths:
                try:
                    data = (place / path).read_bytes()
                    images.append(self._read(path, data))
                except (ValueError, PermissionError):
                    unreadable.append(str(path))
                    continue
                before = first.setdefault(hashlib.sha256(data).digest(), path)
                if before != path:
                    (copies if before.parent == folder else twice).append(f"{before} and {path}")
                brightest = max(brightest, int(images[-1].max()))
            if len(images) < self.least_images:
                small.append(str(folder))
            else:
                write(str(folder), "", np.stack(images))
        left_out = [
            *_in_words(unreadable, "that no image can be read from"),
            *_in_words(small, f"with fewer than {self.least_images} images", thing="class"),
        ]
        if len(small) == len(by_class):
            raise ValueError(
                f"{place} has no class of {self.least_images} images or more: it {contents(place)}; expected "
                f"{LAYOUTS}; left out: {', '.join(left_out) or 'nothing'}"
            )
        remarks = _remarks(twice, copies, brightest)
        return ", ".join(left_out) + ("\n" + "; ".join(remarks) if remarks else "")

    def _read(self, path: PurePosixPath, data: bytes) -> NDArray[np.uint8]:
        def convert(image: Image.Image) -> NDArray[np.uint8]:
            return pixels(ImageOps.exif_transpose(image), self.image_size, self.channels)

        return decode(str(path), data, convert)


def _without_wrapping(place: Path) -> Path:
    """The folder itself, or the only folder in it, where unpacking an archive has put everything."""
    while True:
        visible = [path for path in place.iterdir() if not is_hidden(PurePosixPath(path.name))]
        if len(visible) != 1 or not visible[0].is_dir() or not any(path.is_dir() for path in visible[0].iterdir()):
            return place
        place = visible[0]


def _images(place: Path) -> tuple[list[PurePosixPath], list[str]]:
    """The files that may be images of classes, and what other files there are, in words."""
    files: list[PurePosixPath] = []
    hidden: list[str] = []
    outside: list[str] = []
    for path in files_in(place):
        if is_hidden(path):
            hidden.append(str(path))
        elif len(path.parts) == 1 or (len(path.parts) == 2 and _split_of(path.parts[0]) is not None):
            outside.append(str(path))
        else:
            files.append(path)
    dead = _in_words(dead_links(place), "that are links to nowhere")
    return files, [*_in_words(hidden, "that are hidden"), *_in_words(outside, "outside class folders"), *dead]


def _split_of(folder: str) -> Split | None:
    """The split that a folder of this name is for; None if it is for none."""
    return SPLIT_FOLDERS.get(folder.lower())


def _with_splits(place: Path, found: CachedImages, shares: tuple[float, float, float], seed: int) -> ImageClasses:
    """The classes in their splits: as the folders say, or drawn by the seed."""
    folders = [PurePosixPath(name).parts for name in found.names]
    if any(_split_of(parts[0]) is not None and len(parts) > 1 for parts in folders):
        classes = _own_splits(place, folders)
    else:
        classes = shuffled_splits(np.arange(len(folders)), shares, seed)
    return ImageClasses(found.images, found.counts, classes, white=255.0, names=found.names)


def _own_splits(place: Path, folders: Iterable[tuple[str, ...]]) -> dict[Split, NDArray[np.int64]]:
    """The classes of the folders train, validation and test; no class may be in two of them.

    Raises:
        ValueError: a split has no class, or a class is in no split or in two.
    """
    names: dict[Split, list[str]] = {split: [] for split in SPLITS}
    indices: dict[Split, list[int]] = {split: [] for split in SPLITS}
    for index, parts in enumerate(folders):
        split = _split_of(parts[0])
        if split is None:
            raise ValueError(f"{place} has train, validation or test, and {parts[0]} beside them: expected {LAYOUTS}")
        names[split].append("/".join(parts[1:]))
        indices[split].append(index)
    if empty := [split for split, some in indices.items() if not some]:
        raise ValueError(f"{place} has no class for {empty[0]}: expected {LAYOUTS}, with different classes in each")
    require_disjoint(names)
    return {split: np.array(some, np.int64) for split, some in indices.items()}


def _remarks(twice: list[str], copies: list[str], brightest: int) -> list[str]:
    """What is odd about images that were not left out: the same one in two classes or in one, or all of them dark."""
    remarks = [
        *_repeated(twice, "in two classes"),
        *_repeated(copies, "twice in a class, and so perhaps in a task's support and query"),
    ]
    if is_dark(brightest, WHITE["uint8"]):
        remarks.append(f"the brightest pixel is {brightest} of 255: do the images use the whole range of their type?")
    return remarks


def _repeated(pairs: list[str], where: str) -> list[str]:
    """How many images are there more than once and the first of them, as one phrase; no phrase if there are none."""
    beginning = "the same image is" if len(pairs) == 1 else f"{len(pairs)} images are"
    return [f"{beginning} {where}: {pairs[0]}{' ...' if len(pairs) > 1 else ''}"] if pairs else []


def _in_words(names: list[str], which: str, thing: str = "file") -> list[str]:
    """How many files or classes were left out and the first of them, as one phrase; no phrase if there are none."""
    if not names:
        return []
    plural = {"file": "files", "class": "classes"}[thing]
    return [f"1 {thing} {which} ({names[0]})" if len(names) == 1 else f"{len(names)} {plural} {which} ({names[0]} ...)"]
