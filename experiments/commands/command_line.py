"""What all scripts share: arguments read by tyro, one line and exit status 2 for a user's mistake."""

import contextlib
import ctypes
import dataclasses
import functools
import io
import os
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro
from rich.console import Console

import metarl
from metarl.arguments import path_of
from metarl.experiments.commands.plainer_words import in_plain_words
from metarl.experiments.commands.standard_streams import lasting_streams
from metarl.experiments.commands.started_command import described, program, resume_command
from metarl.extras import MissingExtraError
from metarl.files import DISK
from metarl.reasons import in_one_line
from metarl.rl.environments import WorkerError
from metarl.starting_folder import started_here
from metarl.training.flags import HELP_IS_GIVEN, worded
from metarl.training.help_texts import paragraphs
from metarl.training.interruption import StoppedError, no_exit

Arguments = TypeVar("Arguments")


@lasting_streams()
def run(
    parse: Callable[[Sequence[str]], Arguments],
    main: Callable[[Arguments], None],
    argv: Sequence[str],
    interrupted: str = "what was written is whole",
) -> None:
    """Parse the arguments, then run `main`; a user's mistake (ValueError, OSError) ends in one line and status 2.

    So do a package that is not installed and a lack of memory. An error in the user's own code shows its traceback
    instead, also from a worker process, because one line about a value cannot say where in that code the mistake is.

    Args:
        parse: words of the command line -> arguments.
        main: the script.
        argv: words of the command line.
        interrupted: what to print after Ctrl-C.
    """
    keep_freed_memory()
    threading.excepthook = _thread_failed
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.filterwarnings("always", category=UserWarning, module="metarl")
            with started_here(), _told_how_to_go_on(argv):
                arguments = _parse(parse, argv)
                with no_exit("this command"):
                    main(arguments)
    except MissingExtraError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except (ValueError, OSError) as error:
        if comes_from_users_code(error):
            raise
        print(f"error: {' '.join(_words(error).split())}", file=sys.stderr)
        sys.exit(2)
    except WorkerError as error:
        print(f"{error.traceback}\nerror: {error.message}".strip(), file=sys.stderr)
        sys.exit(1)
    except (MemoryError, OverflowError, RuntimeError) as error:
        # torch says "allocate" where the memory of the CPU or of a GPU is not enough.
        of_memory = not isinstance(error, RuntimeError) or "allocate" in str(error)
        if not of_memory or comes_from_users_code(error):
            raise
        reason = in_one_line(error)
        print(f"error: this does not fit into memory, or a number is too large ({reason})", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"interrupted: {interrupted}", file=sys.stderr)
        sys.exit(130)


@contextlib.contextmanager
def _told_how_to_go_on(argv: Sequence[str]) -> Iterator[None]:
    """Where the block is stopped, print the command that goes on, and exit."""
    try:
        yield
    except StoppedError as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(f"{stopped}; go on with: {resume_command(argv)}", file=sys.stderr)
        sys.exit(stopped.exit_status)


def waiting(words: str) -> AbstractContextManager[object]:
    """Show on a terminal, by something that moves, that the block takes its time; elsewhere show nothing."""
    return Console(stderr=True, markup=False, highlight=False).status(words)


def _words(error: ValueError | OSError) -> str:
    """The message of an error. A disk error that names no file comes from standard output."""
    if isinstance(error, OSError) and error.errno in DISK and error.filename is None:
        return f"cannot write what is printed to where standard output goes ({error.strerror})"
    return str(error)


def comes_from_users_code(error: BaseException) -> bool:
    """Whether an error came through a file that is neither metarl's nor Python's nor an installed package's."""
    return any(not frame.filename.startswith(("<", *_places())) for frame in traceback.extract_tb(error.__traceback__))


@functools.cache
def _places() -> tuple[str, ...]:
    """The folders of metarl, Python and installed packages."""
    own = [Path(place) for place in metarl.__path__]
    linked = [place / package for place in own for package in ("envs", "experiments")]
    installed = [Path(place) for place in sysconfig.get_paths().values()]
    folders = {str(place) for place in (*own, *linked, *installed)}
    return tuple(f"{folder}{os.sep}" for folder in folders | {str(Path(folder).resolve()) for folder in folders})


def arguments_of(kind: type[Arguments], script: str, description: str, argv: Sequence[str]) -> Arguments:
    """Read a command line into a dataclass of arguments; the help names the script as it was started.

    Raises:
        SystemExit: help was asked for, or tyro cannot read the arguments.
    """
    words = described(script, description)
    parsed = tyro.cli(
        worded(kind), prog=program(script), description=paragraphs(words), args=list(argv), config=HELP_IS_GIVEN
    )
    arguments = kind(**vars(parsed))
    require_paths(arguments, argv)
    return with_homes(arguments)


def require_paths(arguments: Any, argv: Sequence[str]) -> None:
    """Raise ValueError for an empty word where a path should be, of which Python makes the present folder."""
    has_empty = any(word == "" or word.endswith("=") for word in argv)
    for field in dataclasses.fields(arguments):
        if has_empty and getattr(arguments, field.name) == Path():
            raise ValueError(f"--{field.name.replace('_', '-')} must be a path; got an empty word")


def with_homes(arguments: Arguments) -> Arguments:
    """The arguments with paths that lead from where the command was started, also once the process has moved.

    `~` is the user's home, which a shell leaves in --output=~/figure.png.
    """

    def whole(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(whole(name, item) for item in value)
        return path_of(name, value) if isinstance(value, Path) else value

    changes = {
        field.name: whole(field.name, getattr(arguments, field.name))
        for field in dataclasses.fields(cast(Any, arguments))
    }
    return dataclasses.replace(cast(Any, arguments), **changes)


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """Ignore disk errors in threads: TensorBoard writes in one, and raises the error again where it is called."""
    if not issubclass(args.exc_type, OSError):
        threading.__excepthook__(args)


def _show_warning(message: Warning | str, category: type[Warning], *_: object) -> None:
    if issubclass(category, UserWarning):
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory, because mapping and clearing large temporaries again took a third of an outer step.

    Blocks above the threshold still go back at once, so that the largest experiments stay small.
    """
    if sys.platform == "win32":
        return
    # Other C libraries have no mallopt.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt and (mallopt(-3, 2**26) or mallopt(-3, 2**25)):  # M_MMAP_THRESHOLD, bytes; before glibc 2.35 the latter
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD, bytes
        mallopt(-2, 2**28)  # M_TOP_PAD, bytes


def _parse(parse: Callable[[Sequence[str]], Arguments], argv: Sequence[str]) -> Arguments:
    """Parse the arguments; turn tyro's own errors, boxes of several lines, into a ValueError of one line."""
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            arguments = parse(argv)
    except SystemExit as stop:
        helped = stop.code in (0, None)
        if helped and {"--help", "-h"} & set(argv):
            raise
        if helped or comes_from_users_code(stop):
            raise RuntimeError("something that the command line names called sys.exit") from stop
        raise ValueError(in_plain_words(stderr.getvalue())) from None
    # What a module of the user's says where it is imported.
    sys.stderr.write(stderr.getvalue())
    return arguments
