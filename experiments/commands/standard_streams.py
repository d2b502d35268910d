"""Standard output and error that outlive who reads them, and have every letter: no word to a reader ends a command."""

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

NARROWEST = 20  # columns; where a surrounding says fewer, often 0, it does not know how wide its window is
GONE = (errno.EPIPE, errno.EIO)  # errors of a pipe whose reader has ended, and of a terminal that was closed


class LastingStream:
    """A stream that drops what is written to it once nobody reads it, such as `head` or a closed terminal.

    Args:
        stream: what is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def write(self, text: str) -> int:
        """Write text; see `flush`."""
        self._despite(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush what was written. Raises OSError for anything but a reader that has gone, such as a full disk."""
        self._despite(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the stream has."""
        return getattr(self._stream, name)

    def _despite(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except OSError as error:
            # A file on a disk that fails has a reader.
            if error.errno not in GONE or (error.errno == errno.EIO and not self._is_terminal):
                raise
            # What the stream still holds goes there too, at the latest when Python ends.
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let standard output and error be `LastingStream` inside the block, also where the process was started without.

    Letters that their encoding lacks are written as escapes, and a window without a width is as wide as usual.
    """
    before = sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        for name, stream in zip(("stdout", "stderr"), before, strict=True):
            # `command >&-` closes it.
            opened = stack.enter_context(Path(os.devnull).open("w")) if stream is None else stream
            if getattr(opened, "errors", None) == "strict":
                cast(Any, opened).reconfigure(errors="backslashreplace")
                stack.callback(_be_strict, opened)
            setattr(sys, name, LastingStream(opened))
            stack.callback(setattr, sys, name, stream)
        _widen(stack)
        yield


def _be_strict(stream: Any) -> None:
    """Let a stream refuse letters again that its encoding lacks. A full disk has been told of before."""
    with contextlib.suppress(OSError):
        stream.reconfigure(errors="strict")


def _widen(stack: contextlib.ExitStack) -> None:
    """Forget a width of the window that the surrounding says, where it is none, until the stack is closed."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) < NARROWEST:
        del os.environ["COLUMNS"]
        stack.callback(os.environ.__setitem__, "COLUMNS", said)
