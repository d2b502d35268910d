"""What all scripts share: arguments read by tyro, one line and exit status 2 for a user's mistake."""

import contextlib
import ctypes
import dataclasses
import functools
import io
import os
import re
import shlex
import sys
import sysconfig
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro
from rich.console import Console

import metarl
from metarl.arguments import path_of
from metarl.experiments.commands.standard_streams import lasting_streams
from metarl.extras import MissingExtraError
from metarl.files import DISK
from metarl.reasons import in_one_line
from metarl.rl.environments import WorkerError
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
            arguments = _parse(parse, argv)
            with no_exit("this command"):
                main(arguments)
    except StoppedError as stopped:
        if os.environ.get("RANK", "0") == "0":
            print(f"{stopped}; go on with: {_resume_command(argv)}", file=sys.stderr)
        sys.exit(stopped.exit_status)
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


def command_of(script: str) -> str:
    """A command that starts another script the way this one was started, ready to be copied into a shell."""
    return shlex.join([*_started(), script] if by_console() else _started(script))


def by_console() -> bool:
    """Whether this process was started by the command `metarl` or its module, not by a script's own file."""
    started = Path(sys.argv[0])
    return started.suffix != ".py" or started.stem == "console"


def program(script: str) -> str:
    """The name of a script in its own help."""
    return f"metarl {script}" if by_console() else f"experiments/{script}.py"


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


def described(script: str, description: str) -> str:
    """A script's description, in which the command is the one that started the script."""
    return description.replace(f"python experiments/{script}.py", program(script)) if by_console() else description


def _started(script: str | None = None) -> list[str]:
    """The first words of this process's command line, with another script in place of this one if it is named."""
    started = Path(sys.argv[0])
    python = shown_path(sys.executable)
    if started.suffix != ".py":
        return [started.name]
    if by_console():
        return [python, "-m", "metarl.experiments.console"]
    file = started.with_name(f"{script}.py") if script else started
    # A user's own program may have called this one.
    if script and not file.is_file():
        file = Path(__file__).parents[1] / file.name
    return [python, shown_path(file)]


def shown_path(path: str | Path) -> str:
    """A path from here, for commands to be copied; whole where there is none, on another drive."""
    try:
        return os.path.relpath(path)
    except ValueError:
        return str(path)


def with_homes(arguments: Arguments) -> Arguments:
    """The arguments with `~` in their paths replaced by the user's home: a shell leaves it in --output=~/figure.png."""

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


def _resume_command(argv: Sequence[str]) -> str:
    """The command that resumes this run; in words where several machines ran it."""
    if int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1:
        return "the same torchrun command, with --resume, on every machine"
    ranks = [f"--nproc-per-node={os.environ['LOCAL_WORLD_SIZE']}"] if "LOCAL_WORLD_SIZE" in os.environ else []
    command = [*_started(), sys.argv[1]] if by_console() else _started()
    if ranks:
        module = ["-m", "metarl.experiments.console", sys.argv[1]] if by_console() else command[1:]
        command = ["torchrun", *ranks, *module]
    further = [] if "--resume" in argv else ["--resume"]
    return shlex.join([*command, *argv, *further])


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
        raise ValueError(_unboxed(stderr.getvalue())) from None
    # What a module of the user's says where it is imported.
    sys.stderr.write(stderr.getvalue())
    return arguments


# What tyro says -> what is said instead.
PLAINER = (
    (r"Error parsing __tyro\S*: ", ""),
    (r"Missing from [^:]*: (\S+(?: [A-Z]+)?) (.*?)\.? \(required\).*", r"\1 must be given: \2"),
    (
        r"Error parsing (\S+): no type matching \{None\}\|INT could be .* from \[(.*?)\]\..*",
        r"\1 must be a whole number; got \2",
    ),
    (
        r"Error parsing (\S+): no type matching \{None\}\|FLOAT could be .* from \[(.*?)\]\..*",
        r"\1 must be a number; got \2",
    ),
    (
        r"Error parsing (\S+): no type matching \{None\}\|\{\[(?:FLOAT|INT) .* from \[(.*?)\]\..*",
        r"\1 must be numbers; got \2",
    ),
    (
        r"Error parsing (\S+): Could not find valid parse for arguments: \['(\W?\d[^']*[,;][^']*)'\]",
        r"\1 cannot be '\2': spaces separate several values",
    ),
    (r"Error parsing (\S+): Failed to parse key-value pairs!.*", r"\1 must be pairs: NAME VALUE NAME VALUE ..."),
    (r"Error parsing (\S+): Could not find valid parse for arguments: \[(.*?)\]", r"\1 cannot be \2"),
    (r"Missing value for argument '(\S+)'\. Expected \d+ values?\.", r"\1 needs a value"),
    (
        r"invalid choice (\S+) for argument '(\S+)'\. Expected one of \((.*?),?\)\.?",
        r"\2 must be one of \3; got \1",
    ),
    (r"must be one of 'None', ", "must be one of "),
    (r"(must be one of .*), 'None'", r"\1"),
    (
        r"(Unrecognized options: (?:.* )?(?:True|False))\b.*",
        r"\1: what is either on or off is named as --NAME or --no-NAME",
    ),
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: ", r"\1 must be a whole number; got "),
    (r"Error parsing (\S+): could not convert string to float: ", r"\1 must be a number; got "),
)


def _unboxed(box: str) -> str:
    """The first two paragraphs of one of tyro's boxes in plain words, without its frame and without internal names."""
    lines = [line.strip("│ ") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    paragraphs = [part.strip() for part in re.split(r"[─-]{4,}", " ".join(lines))]
    # Where the terminal has no frames, the title is the first paragraph.
    if "╭" not in box:
        paragraphs = paragraphs[1:]
    wanted = [part for part in paragraphs if part and not part.startswith(("For full helptext", "Argument helptext"))]
    words = "; ".join(wanted[:2])
    for theirs, ours in PLAINER:
        words = re.sub(theirs, ours, words)
    return words
