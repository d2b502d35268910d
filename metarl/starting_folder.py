"""Relative paths of a command lead from the folder that it was started in, wherever users' code moves the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_start: ContextVar[Path | None] = ContextVar("start", default=None)  # None: of no command


@contextmanager
def started_here() -> Iterator[None]:
    """Have relative paths in the block, or in the decorated function, lead from the folder that is present now.

    Raises:
        ValueError: the folder has been removed.
    """
    folder = _present()
    if folder is None:
        raise ValueError("the folder that this command was started in is gone: go to one that exists")
    before = _start.set(folder)
    try:
        yield
    finally:
        _start.reset(before)


def start() -> Path:
    """The folder that the command was started in; the present one where there is no command.

    Raises:
        FileNotFoundError: there is no command, and the present folder has been removed.
    """
    return _start.get() or Path.cwd()


def from_start(path: Path) -> Path:
    """A path that leads from where the command was started, as it is as long as the process is there."""
    folder = _start.get()
    return path if folder is None or folder == _present() else folder / path


@contextmanager
def moves() -> Iterator[list[str]]:
    """List a remark where the process is in another folder at the end of the block than where the command was started.

    The list is empty until the block has ended.
    """
    remarks: list[str] = []
    before = _start.get() or _present()
    yield remarks
    after = _present()
    if after != before:
        remarks.append(
            f"it moves the process from {before} to {after or 'a folder that is gone'}: relative paths that your own "
            "code reads later lead from there"
        )


def _present() -> Path | None:
    """The present folder; None where it has been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None
