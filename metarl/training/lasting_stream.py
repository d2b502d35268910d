"""A stream that ends no training when nobody reads it any more: a pipe whose reader ended, or a closed terminal."""

import errno
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO)  # errors of a pipe whose reader has ended, and of a terminal that was closed


class LastingStream:
    """A stream that drops what is written to it once nobody reads it, such as `head` or a closed terminal.

    Args:
        stream: what is written to.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # What a program puts in the place of a standard stream may have `write` and `flush` alone.
        isatty = getattr(stream, "isatty", None)
        self._is_terminal = isatty is not None and isatty()
        self._has_reader = True

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
        if not self._has_reader:
            return
        try:
            call()
        except OSError as error:
            # A file on a disk that fails has a reader.
            if error.errno not in GONE or (error.errno == errno.EIO and not self._is_terminal):
                raise
            self._has_reader = False
            # What the stream still holds goes there, at the latest when Python ends. Streams that are no files of the
            # system hold nothing.
            with suppress(AttributeError, io.UnsupportedOperation), Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
