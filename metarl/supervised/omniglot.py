"""Omniglot (Lake et al. 2015): 1623 handwritten characters, 20 drawings each, as Finn et al. 2017 use them."""

import zlib
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from metarl.files import atomic
from metarl.supervised.archives import decode, download, members, require_checksum
from metarl.supervised.few_shot import ImageClasses

SOURCE = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
ARCHIVES = {  # in the cache's order -> MD5 sum of the zip archive, characters
    "images_background": ("68d2efa1b9178cc56df9314c21c6e718", 964),
    "images_evaluation": ("6b91aef0f799c5bb55b94e3f2daec811", 659),
}
CACHE = "omniglot28.npz"
SIZE, DRAWINGS = 28, 20
SPLIT_SIZES = {"train": 1100, "validation": 100, "test": 423}  # PAPER: 1200 for training, of which 100 to choose by
SPLIT_SEED = 1  # of the shuffle of characters: the same for every run, whatever its own seed
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OSError, EOFError, BadZipFile, zlib.error)  # a cache


class Characters(NamedTuple):
    """Every drawing, character after character."""

    images: NDArray[np.uint8]  # [1623, 20, 28, 28], 1 is ink
    alphabet: NDArray[np.str_]  # [1623]
    character: NDArray[np.str_]  # [1623]


def load(place: Path) -> Characters:
    """Read the dataset: a cache (.npz), or a folder with one, or with the official archives, zipped or unpacked.

    In a folder with neither the archives are downloaded first. Archives are decoded once, into `omniglot28.npz` there.

    Raises:
        ValueError: a file that is missing, damaged or foreign, or no way to download; names which.
        OSError: the cache cannot be written.
    """
    if place.suffix == ".npz" or (place / CACHE).is_file():
        return _read_cache(place if place.suffix == ".npz" else place / CACHE)
    if place.exists() and not place.is_dir():
        raise ValueError(f"{place} is neither a folder nor an .npz file of Omniglot")
    parts = [_decode(_source(place, name, md5), count) for name, (md5, count) in ARCHIVES.items()]
    characters = Characters(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))
    with atomic(place / CACHE) as file:
        np.savez_compressed(file, **characters._asdict())
    return characters


def splits(characters: Characters) -> ImageClasses:
    """The characters in the three splits: 1100 / 100 / 423 of them, in alphabetical order shuffled by SPLIT_SEED.

    Raises:
        ValueError: not the 1623 characters.
    """
    images, total = characters.images, sum(SPLIT_SIZES.values())
    if len(images) != total:
        raise ValueError(f"Omniglot has {total} characters; got {len(images)}")
    alphabetical = np.lexsort((characters.character, characters.alphabet))  # a split is of characters, not of rows
    order = alphabetical[np.random.default_rng(SPLIT_SEED).permutation(total)]
    bounds = np.cumsum(list(SPLIT_SIZES.values()))[:-1]
    train, validation, test = np.split(order, bounds)
    counts = np.full(total, images.shape[1])
    flat = images.reshape(-1, *images.shape[2:], 1)
    return ImageClasses(flat, counts, {"train": train, "validation": validation, "test": test}, white=1.0)


def _read_cache(path: Path) -> Characters:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = Characters(*(arrays[name] for name in Characters._fields))
        images, shape = found.images, (len(found.alphabet), DRAWINGS, SIZE, SIZE)
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


def _source(place: Path, name: str, md5: str) -> Path:
    """The unpacked folder, or the verified zip archive, downloaded where there is none."""
    folder, archive = place / name, place / f"{name}.zip"
    if folder.is_dir():
        return folder
    if archive.is_file():
        require_checksum(archive, md5)
    else:
        download(f"{SOURCE}/{archive.name}", archive, md5)
    return archive


def _decode(source: Path, count: int) -> Characters:
    """The drawings of one archive's characters: .../ALPHABET/CHARACTER/*_NN.png, drawing NN - 1."""
    drawings: dict[tuple[str, str], list[NDArray[np.uint8]]] = {}
    for path, read in members(source).items():
        if path.suffix == ".png" and not path.name.startswith("."):
            alphabet, character = path.parts[-3:-1] if len(path.parts) >= 3 else _misplaced(source, path)
            image = decode(f"{source}: {path}", read(), _small)
            drawings.setdefault((alphabet, character), []).append(image)
    for (alphabet, character), images in drawings.items():
        if len(images) != DRAWINGS:
            raise ValueError(f"{source}: {alphabet}/{character} has {len(images)} drawings; expected {DRAWINGS}")
    if len(drawings) != count:
        raise ValueError(
            f"{source} holds {len(drawings)} characters; expected {count}, as ALPHABET/CHARACTER/*.png: is it whole?"
        )
    alphabets, names = zip(*drawings, strict=True)
    return Characters(
        1 - np.stack([np.stack(images) for images in drawings.values()]), np.array(alphabets), np.array(names)
    )


def _small(image: Image.Image) -> Image.Image:
    """28 x 28, one bit: the authors' script asks for Lanczos, which on one-bit images is nearest neighbour."""
    return image.convert("1").resize((SIZE, SIZE), Image.Resampling.NEAREST)


def _misplaced(source: Path, path: PurePosixPath) -> tuple[str, str]:
    raise ValueError(f"{source}: {path} is not in ALPHABET/CHARACTER/")
