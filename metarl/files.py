"""Files that are whole or not there, and directories with one owner."""

import contextlib
import errno
import fcntl
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

LOCK = ".lock"
DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
    errno.ENOENT,
    errno.EISDIR,
    errno.ESTALE,
}


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever of the block the disk refuses names the file. Raises OSError."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise  # that of whatever fills the file, such as a download
        raise OSError(f"cannot write {path} ({error.strerror}); what was there before is whole") from error


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write, that becomes `path` once all is on disk; if anything fails, `path` stays as it was.

    Raises:
        OSError: it cannot be written: `path` is named.
    """
    temporary = _temporary(path)
    try:
        with writing(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_directory(path.parent)  # or the renaming might not outlive a power cut
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or leave it as it was."""
    with atomic(path) as file:
        file.write(data)


def keep_copy(path: Path, copy: Path) -> None:
    """Give what `path` is now a second name, in place of whatever has that."""
    temporary = _temporary(copy)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        write_atomically(copy, path.read_bytes())
    else:
        with writing(copy):
            temporary.replace(copy)


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """This process alone writes in a directory: it locks a file there, and warns where the file system has no locks.

    Raises:
        ValueError: another process owns it.
    """
    with (directory / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing to {directory}: wait for it, or choose another") from None
        except OSError as error:
            warnings.warn(
                f"{directory} cannot be locked ({error.strerror}): see that one run writes there", stacklevel=3
            )
        yield


def _temporary(path: Path) -> Path:
    """Beside `path`, for this process alone, of this machine or of another on the same file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot
            os.fsync(handle)
    finally:
        os.close(handle)
