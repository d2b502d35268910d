"""Decoded images in the user's cache folder: each set of files is decoded once, wherever it lies.

The key of a cache is made of the files' names, sizes and times of change and of the options of decoding. Files that
have changed are decoded again. The folder with the images is never written to.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.arguments import path_of
from metarl.files import atomic, write_atomically

FORMAT = 1  # number of the cache's format, a part of the key


class CachedImages(NamedTuple):
    """Classes of images, decoded."""

    images: NDArray[np.uint8]  # [I, height, width, channels], class after class, mapped from the disk
    counts: NDArray[np.int64]  # images of each class
    names: list[str]  # names of the classes
    splits: list[str]  # split of each class; an empty word where the files do not say
    note: str  # what was left out, in words; empty if nothing was


WriteClass = Callable[[str, str, NDArray[np.uint8]], None]  # name, split, images [n, height, width, channels]


def cached(
    kind: str,
    files: Iterable[tuple[str, Path]],
    how: dict[str, Any],
    cache_dir: str | None,
    decode: Callable[[WriteClass], str],
) -> CachedImages:
    """Read decoded images from the cache; if they are not there, `decode` makes them first.

    Args:
        kind: beginning of the names of the cache's files.
        files: the files to decode, each with a name that does not depend on where the folder lies.
        how: the options of decoding.
        cache_dir: folder of the cache; None: the user's.
        decode: gives every class to the function that it is called with; returns what it left out, in words.

    Raises:
        ValueError: `decode` raises it.
        OSError: the cache cannot be written.
    """
    folder = cache_folder(cache_dir)
    name = f"{kind}-{_digest(files, how)}"
    pixels = folder / f"{name}.pixels"
    description = folder / f"{name}.json"
    found = _read(pixels, description)
    if found is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"cannot make the folder {folder} ({error.strerror}): choose another cache_dir") from error
        _write(pixels, description, decode)
        found = _read(pixels, description)
    if found is None:
        raise OSError(f"{pixels} was written and cannot be read again: choose another cache_dir")
    return found


def cache_folder(cache_dir: str | None) -> Path:
    """The folder of the cache: the given one, or `metarl` in $XDG_CACHE_HOME or ~/.cache."""
    if cache_dir is not None:
        return path_of("cache_dir", cache_dir)
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG standard says to ignore a relative path.
    return (home if home.is_absolute() else Path("~/.cache").expanduser()) / "metarl"


def _digest(files: Iterable[tuple[str, Path]], how: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, how], sort_keys=True).encode())
    for name, path in files:
        status = path.stat()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _write(pixels: Path, description: Path, decode: Callable[[WriteClass], str]) -> None:
    """Write the pixels, class by class, then the description, which exists only beside whole pixels."""
    counts: list[int] = []
    names: list[str] = []
    splits: list[str] = []
    shapes: set[tuple[int, ...]] = set()
    with atomic(pixels) as file:

        def write(name: str, split: str, images: NDArray[np.uint8]) -> None:
            file.write(np.ascontiguousarray(images, np.uint8).tobytes())
            counts.append(len(images))
            names.append(name)
            splits.append(split)
            shapes.add(images.shape[1:])

        note = decode(write)
    (shape,) = shapes
    document = {"shape": shape, "counts": counts, "names": names, "splits": splits, "note": note}
    write_atomically(description, (json.dumps(document, indent=1) + "\n").encode())


def _read(pixels: Path, description: Path) -> CachedImages | None:
    """Read a cache; None if it is missing or not whole."""
    try:
        document = json.loads(description.read_text())
        counts = np.array(document["counts"], np.int64)
        shape = (int(counts.sum()), *document["shape"])
        if pixels.stat().st_size != np.prod(shape, dtype=np.int64):
            return None
        images = np.memmap(pixels, np.uint8, mode="r", shape=shape)
        return CachedImages(images, counts, document["names"], document["splits"], document["note"])
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
