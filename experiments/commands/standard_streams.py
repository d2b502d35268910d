"""Standard output and error that end no command: not where their reader is gone, nor where a letter has no encoding."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metarl.training.lasting_stream import LastingStream

NARROWEST = 20  # columns; where a surrounding says fewer, often 0, it does not know how wide its window is


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
            if isinstance(opened, io.TextIOWrapper) and opened.errors == "strict":
                opened.reconfigure(errors="backslashreplace")
                stack.callback(_be_strict, opened)
            setattr(sys, name, LastingStream(opened))
            stack.callback(setattr, sys, name, stream)
        _widen(stack)
        yield


def _be_strict(stream: io.TextIOWrapper) -> None:
    """Let a stream refuse letters again that its encoding lacks. A full disk has been told of before."""
    with contextlib.suppress(OSError):
        stream.reconfigure(errors="strict")


def _widen(stack: contextlib.ExitStack) -> None:
    """Until the stack is closed, leave out `COLUMNS` of the process's environment where no window is as narrow."""
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) < NARROWEST:
        del os.environ["COLUMNS"]
        stack.callback(os.environ.__setitem__, "COLUMNS", said)
