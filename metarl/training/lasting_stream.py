"""A stream that outlives who reads it: a reader that goes, or a terminal that is closed, ends no training."""

import errno
import os
from collections.abc import Callable
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
