"""Files that are written whole or not at all, and directories that one process owns."""

import contextlib
import errno
import os
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

try:
    import fcntl as _fcntl
except ImportError:  # Windows
    _fcntl = None
locks: Any = _fcntl

LOCK = ".lock"
# Errors of the disk; others may come from whatever fills a file, such as a download.
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
    """Re-raise disk errors from the block as an OSError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise OSError(f"cannot write {path} ({error.strerror}); what was there before is whole") from error


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` at the end of the block; if anything fails, `path` stays as it was.

    Raises:
        OSError: the file cannot be written; the message names `path`.
    """
    temporary = _temporary(path)
    try:
        with writing(path):
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            # Otherwise the renaming might not survive a power cut.
            _sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or leave it as it was."""
    with atomic(path) as file:
        file.write(data)


def keep_copy(path: Path, copy: Path) -> None:
    """Make `copy` a second name of the file that is now at `path`, replacing what had that name."""
    temporary = _temporary(copy)
    try:
        os.link(path, temporary)
    except OSError:
        # The file system may have no links.
        write_atomically(copy, path.read_bytes())
    else:
        with writing(copy):
            temporary.replace(copy)


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Own a directory inside the block, by locking a file there; warn where the system has no locks.

    Raises:
        ValueError: another process owns the directory.
    """
    with (directory / LOCK).open("a") as file:
        reason = "this system has no such locks"
        try:
            if locks is not None:
                locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)
                reason = None
        except BlockingIOError:
            raise ValueError(f"another process is writing to {directory}: wait for it, or choose another") from None
        except OSError as error:
            reason = error.strerror
        if reason is not None:
            warnings.warn(f"{directory} cannot be locked ({reason}): see that one run writes there", stacklevel=3)
        yield


def _temporary(path: Path) -> Path:
    """A path beside `path` that no other process uses, on this machine or on another with the same file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _sync_directory(directory: Path) -> None:
    """Flush a directory's entries to disk, where the system can."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except PermissionError:  # Windows opens no directories
        return
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
