"""Sources of images: verified downloads, zip archives and folders, and the decoding of one image."""

import hashlib
import io
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.progress import wrap_file

from metarl.files import atomic

NAMED = 4  # files that a message names at most


def download(url: str, path: Path, md5: str) -> None:
    """Download a file, with a progress bar; it appears at `path` when it is whole and its checksum right.

    Raises:
        ValueError: the file cannot be downloaded, or has another MD5 sum.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=60) as response, atomic(path) as file:
            length = response.headers.get("Content-Length") or ""
            size = int(length) if length.isdecimal() else 0
            console = Console(stderr=True)
            with wrap_file(response, size, description=path.name, console=console) as progress:
                while chunk := progress.read(1 << 20):
                    digest.update(chunk)
                    file.write(chunk)
            if size and file.tell() < size:
                raise ConnectionError(f"{file.tell()} of {size} bytes came")
            _require_sum(url, digest.hexdigest(), md5)
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise ValueError(f"{url} cannot be downloaded ({error}): fetch it elsewhere and put it at {path}") from error


def require_checksum(path: Path, md5: str) -> None:
    """Raise ValueError unless a file has this MD5 sum."""
    with path.open("rb") as file:
        _require_sum(str(path), hashlib.file_digest(file, "md5").hexdigest(), md5)


def members(source: Path) -> dict[PurePosixPath, Callable[[], bytes]]:
    """The files in a folder or a zip archive: path inside it -> a function that reads the file; sorted by path.

    Raises:
        ValueError: `source` is a file, but no zip archive.
    """
    if source.is_dir():
        return {name: path.read_bytes for name, path in files_in(source).items()}
    try:
        archive = zipfile.ZipFile(source)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{source} is not a zip archive: truncated, damaged or foreign") from error
    names = sorted(name for name in archive.namelist() if not name.endswith("/"))
    return {PurePosixPath(name): lambda name=name: archive.read(name) for name in names}


def files_in(folder: Path) -> dict[PurePosixPath, Path]:
    """All files in a folder and in the folders inside it, by their path in the folder; sorted by path.

    Links are followed, but for those to a folder that they are in; links to nowhere are left out.
    """
    found = {PurePosixPath(path.relative_to(folder)): path for path in _inside(folder, ()) if path.is_file()}
    return {name: found[name] for name in sorted(found)}


def dead_links(folder: Path) -> list[str]:
    """The links to nowhere in a folder and in the folders inside it, by their path in the folder; sorted."""
    return sorted(str(path.relative_to(folder)) for path in _inside(folder, ()) if not path.exists())


def _inside(folder: Path, around: tuple[Path, ...]) -> Iterator[Path]:
    """Everything in a folder but folders, and in the folders inside it; `around` are the real folders it is in."""
    around = (*around, folder.resolve())
    for path in folder.iterdir():
        if not path.is_dir():
            yield path
        elif path.resolve() not in around:
            yield from _inside(path, around)


def is_hidden(path: PurePosixPath) -> bool:
    """Whether a file or a folder that it is in is hidden, or one that macOS leaves in zip archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def contents(folder: Path) -> str:
    """What a folder holds, in words for messages: the first names in it."""
    names = sorted(path.name for path in folder.iterdir() if not is_hidden(PurePosixPath(path.name)))
    if not names:
        return "is empty"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"holds {', '.join(names[:NAMED])}{more}"


def decode(
    where: str, data: bytes, convert: Callable[[Image.Image], NDArray[np.uint8] | Image.Image]
) -> NDArray[np.uint8]:
    """Decode an image to an array, [H, W] or [H, W, C], after `convert` (resize, change of mode).

    Raises:
        ValueError: the image cannot be decoded; the message calls it `where`.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(convert(image), np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{where} is not an image that can be read: {error}") from error


def _require_sum(where: str, found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{where} is damaged or another file: its MD5 sum is {found}, expected {expected}")
