"""Omniglot (Lake et al. 2015): 1623 handwritten characters, 20 drawings each, as Finn et al. 2017 use them."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.arguments import path_of
from metarl.parts import MAY_CHANGE
from metarl.supervised.archives import contents, decode, download, files_in, is_hidden, members, require_checksum
from metarl.supervised.datasets import DATASETS, ImagesOnDisk
from metarl.supervised.few_shot import ImageClasses, few_shot
from metarl.supervised.image_cache import WriteClass, cached
from metarl.supervised.pixels import opaque
from metarl.supervised.tasks import SupervisedTasks
from metarl.tasks import SPLITS

SOURCE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
ARCHIVES = {  # in the cache's order -> MD5 sum of the zip archive, characters
    "images_background": ("68d2efa1b9178cc56df9314c21c6e718", 964),
    "images_evaluation": ("6b91aef0f799c5bb55b94e3f2daec811", 659),
}
FOLDERS = ("", "omniglot-py", "python")  # where the archives may lie: torchvision and the authors have them there
OLD_CACHE = "omniglot28.npz"  # a file that versions before 0.8 left beside the archives, and that people hand on
SIZE = 28  # pixels
DRAWINGS = 20  # of each character
SPLIT_SIZES = (1100, 100, 423)  # the paper has 1200 for training; 100 of them are for validation here
SPLIT_SEED = 1  # of the shuffle of characters; the same for every run, whatever the run's seed
# Errors of reading an .npz file that is damaged or foreign.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, BadZipFile, zlib.error)


@DATASETS.register("omniglot")
@dataclass(frozen=True, kw_only=True)
class Omniglot(ImagesOnDisk):
    """Handwritten characters, 28 x 28, downloaded if they are not there."""

    data_dir: Annotated[str, MAY_CHANGE] = "data/omniglot"
    """Folder with the official archives, zipped or unpacked, or with ALPHABET/CHARACTER/*.png of any size; or an .npz
    file. The archives are downloaded to an empty folder."""

    def build(self) -> SupervisedTasks:
        """Make tasks of `ways` characters, each rotated by 0, 90, 180 or 270 degrees."""
        characters = load(path_of("data_dir", self.data_dir), self.cache_dir)
        return few_shot(splits(characters), ways=self.ways, rotate=True)


class Characters(NamedTuple):
    """Every drawing, character after character."""

    images: NDArray[np.uint8]  # [1623, 20, 28, 28], 1 is ink
    alphabet: NDArray[np.str_]  # [1623]
    character: NDArray[np.str_]  # [1623]


class Source(NamedTuple):
    """A folder or a zip archive of characters."""

    path: Path
    characters: int  # the number of characters that it must have


def load(place: Path, cache_dir: str | None = None) -> Characters:
    """Read the dataset from a folder, whose images are decoded once into the cache; or from an .npz file.

    Raises:
        ValueError: a file is missing, damaged or foreign, or cannot be downloaded; the message names it.
        OSError: the cache cannot be written.
    """
    if place.suffix == ".npz" or (place / OLD_CACHE).is_file():
        return _read_npz(place if place.suffix == ".npz" else place / OLD_CACHE)
    if place.exists() and not place.is_dir():
        raise ValueError(f"{place} is neither a folder nor an .npz file of Omniglot")
    sources = _sources(place)
    found = cached("omniglot", _files(place, sources), {}, cache_dir, lambda write: _decode(sources, write))
    alphabet, character = np.array([name.split("/") for name in found.names]).T
    return Characters(found.images.reshape(-1, DRAWINGS, SIZE, SIZE), alphabet, character)


def splits(characters: Characters) -> ImageClasses:
    """Deal the characters to the splits, 1100 / 100 / 423, from alphabetical order shuffled by SPLIT_SEED.

    Raises:
        ValueError: there are not 1623 characters.
    """
    images = characters.images
    total = sum(SPLIT_SIZES)
    if len(images) != total:
        raise ValueError(f"Omniglot has {total} characters; got {len(images)}")
    # Alphabetical order makes the splits independent of the order of the rows.
    alphabetical = np.lexsort((characters.character, characters.alphabet))
    order = alphabetical[np.random.default_rng(SPLIT_SEED).permutation(total)]
    classes = np.split(order, np.cumsum(SPLIT_SIZES)[:-1])
    counts = np.full(total, images.shape[1])
    flat = images.reshape(-1, *images.shape[2:], 1)
    return ImageClasses(flat, counts, dict(zip(SPLITS, classes, strict=True)), white=1.0)


def _read_npz(path: Path) -> Characters:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = Characters(*(arrays[name] for name in Characters._fields))
        images = found.images
        shape = (len(found.alphabet), DRAWINGS, SIZE, SIZE)
        if images.shape != shape or images.dtype != np.uint8 or images.max(initial=0) > 1:
            raise ValueError(
                f"images must be uint8, 0 or 1, of shape {shape}; got {images.dtype}, {images.shape}, "
                f"up to {images.max(initial=0)}"
            )
        if found.character.shape != found.alphabet.shape:
            raise ValueError(f"there are {found.alphabet.shape} alphabets and {found.character.shape} characters")
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except UNREADABLE as error:
        raise ValueError(f"{path} is not an Omniglot cache (images, alphabet, character): {error}") from error
    return found


def _sources(place: Path) -> list[Source]:
    """Where the characters are: the official archives, or else ALPHABET/CHARACTER/*.png.

    A missing archive is downloaded, if the folder is empty or has the other archive.
    """
    for folder in (place / name for name in FOLDERS):
        if any((folder / name).is_dir() or (folder / f"{name}.zip").is_file() for name in ARCHIVES):
            return [Source(_archive(folder, name, md5), count) for name, (md5, count) in ARCHIVES.items()]
    if place.is_dir() and any(_is_drawing(path) for path in files_in(place)):
        return [Source(place, sum(count for _, count in ARCHIVES.values()))]
    if place.is_dir() and contents(place) != "is empty":
        raise ValueError(
            f"{place} {contents(place)}, and nothing of Omniglot: expected {' and '.join(ARCHIVES)}, zipped or "
            "unpacked, or ALPHABET/CHARACTER/*.png; an empty folder is downloaded to"
        )
    return [Source(_archive(place, name, md5), count) for name, (md5, count) in ARCHIVES.items()]


def _archive(place: Path, name: str, md5: str) -> Path:
    """The unpacked folder of an archive, or the verified zip archive, which is downloaded if it is missing."""
    folder = place / name
    archive = place / f"{name}.zip"
    if folder.is_dir():
        return folder
    if archive.is_file():
        require_checksum(archive, md5)
    else:
        download(f"{SOURCE}/{archive.name}", archive, md5)
    return archive


def _files(place: Path, sources: Iterable[Source]) -> list[tuple[str, Path]]:
    """The files that are decoded, with the names that the cache knows them by."""
    return [
        (str(path.relative_to(place)), path)
        for source in sources
        for path in (files_in(source.path).values() if source.path.is_dir() else [source.path])
    ]


def _is_drawing(path: PurePosixPath) -> bool:
    return path.suffix.lower() == ".png" and not is_hidden(path)


def _decode(sources: Iterable[Source], write: WriteClass) -> str:
    """Give every character to the cache."""
    drawn: dict[str, NDArray[np.uint8]] = {}
    for source in sources:
        drawn |= _drawings(source)
    ink = np.mean([images.mean() for images in drawn.values()])
    for name, images in drawn.items():
        # Some resized copies are white on black. Ink is the rarer value.
        write(name, "", (images if ink < 0.5 else 1 - images)[..., None])
    return ""


def _drawings(source: Source) -> dict[str, NDArray[np.uint8]]:
    """The drawings [20, 28, 28] of a source by ALPHABET/CHARACTER; 1 is black. Drawing i is the file *_{i + 1}.png."""
    place = source.path
    drawn = dict[str, list[NDArray[np.uint8]]]()
    for path, read in members(place).items():
        if _is_drawing(path):
            if len(path.parts) < 3:
                raise ValueError(f"{place}: {path} is not in ALPHABET/CHARACTER/")
            image = decode(f"{place}: {path}", read(), _small)
            drawn.setdefault("/".join(path.parts[-3:-1]), []).append(1 - image)
    for name, images in drawn.items():
        if len(images) != DRAWINGS:
            raise ValueError(f"{place}: {name} has {len(images)} drawings; expected {DRAWINGS}")
    if len(drawn) != source.characters:
        raise ValueError(
            f"{place} holds {len(drawn)} characters; expected {source.characters}, as ALPHABET/CHARACTER/*.png: "
            "is it whole?"
        )
    return {name: np.stack(images) for name, images in drawn.items()}


def _small(image: Image.Image) -> Image.Image:
    """Resize an image to 28 x 28 with one bit per pixel, as the authors' script does.

    The script asks for Lanczos filtering, for which Pillow takes the nearest neighbour in one-bit images.
    """
    if image.mode != "1":
        # `convert` alone would dither grey levels.
        image = opaque(image).convert("L").point(_black_or_white)
    return image.convert("1").resize((SIZE, SIZE), Image.Resampling.NEAREST)


def _black_or_white(level: int) -> int:
    return 255 if level >= 128 else 0
