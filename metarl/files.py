"""Files that are whole or not there, and directories with one owner."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write, that becomes `path` once all is on disk; if anything fails, `path` stays as it was.

    Raises:
        OSError: it cannot be written: `path` is named.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # two processes may make one cache at once
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)  # or the renaming might not outlive a power cut
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):
            raise  # not this file's error, but that of whatever fills it
        raise OSError(f"cannot write {path} ({error.strerror}); what was there before is whole") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, or leave it as it was."""
    with atomic(path) as file:
        file.write(data)


def keep_copy(path: Path, copy: Path) -> None:
    """Give what `path` is now a second name, in place of whatever has that."""
    temporary = copy.with_name(f".{copy.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without links
        shutil.copyfile(path, temporary)
    temporary.replace(copy)


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """This process alone writes in a directory, where the file system has locks.

    Raises:
        ValueError: another process owns it.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is writing to {directory}: wait for it, or choose another") from None
        except OSError:
            pass  # such as some network file systems: no locks there
        yield
    finally:
        os.close(handle)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
