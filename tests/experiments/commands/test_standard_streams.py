"""Readers of a command's output may go, be closed, lack letters or know no width: the work is done all the same."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from metarl.experiments.commands.command_line import run
from metarl.experiments.commands.standard_streams import lasting_streams
from metarl.training.lasting_stream import LastingStream


def pipe_without_reader() -> Any:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w")


def test_work_goes_on_where_the_reader_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`evaluate.py RUN | head -1` ended in a traceback about sys.exit, `plot.py` without its figure."""
    done = []

    def main(arguments: list[str]) -> None:
        for _ in range(3):
            print("words", flush=True)
            Console().print("words")
        done.append(arguments)

    with pipe_without_reader() as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        run(list, main, ["a"])
        assert sys.stdout is pipe
    assert done == [["a"]]


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_was_closed_from_the_start(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, name, None)
    with lasting_streams():
        print("words", file=getattr(sys, name), flush=True)
    assert getattr(sys, name) is None


def test_letters_that_an_encoding_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in a folder `ü` could not be trained where the terminal speaks ASCII."""
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with lasting_streams():
            print("85.1 ± 0.2, ü")
        assert out.errors == "strict"
    assert (tmp_path / "out").read_text() == "85.1 \\xb1 0.2, \\xfc\n"


@pytest.mark.parametrize(("said", "width"), [("0", None), ("1", None), ("20", "20"), ("", "")])
def test_a_window_without_a_width(said: str, width: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a width of 0 a table was nothing at all."""
    monkeypatch.setenv("COLUMNS", said)
    with lasting_streams():
        assert os.environ.get("COLUMNS") == width
    assert os.environ["COLUMNS"] == said


class Failing(io.StringIO):
    """What it holds cannot be written."""

    def __init__(self, error: int, *, is_terminal: bool) -> None:
        super().__init__()
        self.error = error
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    def flush(self) -> None:
        raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize(("error", "is_terminal"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_a_disk_that_fails_is_told(error: int, is_terminal: bool) -> None:
    with pytest.raises(OSError, match=os.strerror(error)):
        LastingStream(Failing(error, is_terminal=is_terminal)).flush()


class Teller:
    """What programs put in the place of a standard stream, to write to a log."""

    def __init__(self, errors: list[int]) -> None:
        self.errors = errors
        self.told: list[str] = []

    def write(self, text: str) -> None:
        if self.errors:
            raise OSError(self.errors.pop(), "no reader")
        self.told.append(text)

    def flush(self) -> None: ...


@pytest.mark.parametrize(("errors", "told"), [([], ["a", "b"]), ([errno.EPIPE], [])])
def test_a_stream_that_can_do_little(errors: list[int], told: list[str]) -> None:
    teller: Any = Teller(errors)
    stream = LastingStream(teller)
    for text in ("a", "b"):
        stream.write(text)
        stream.flush()
    assert teller.told == told


def test_a_terminal_that_was_closed_is_a_reader_that_has_gone(tmp_path: Path) -> None:
    with (tmp_path / "terminal").open("w") as file:
        stream = Failing(errno.EIO, is_terminal=True)
        stream.fileno = file.fileno
        LastingStream(stream).flush()
        file.write("words")
    assert (tmp_path / "terminal").read_text() == ""
