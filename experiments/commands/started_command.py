"""The command that started this process, and others like it to be copied into a shell."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from metarl.operating_system import said_number
from metarl.starting_folder import start


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
        return os.path.relpath(path, start())
    except ValueError:
        return str(path)


def resume_command(argv: Sequence[str]) -> str:
    """The command that resumes this run; in words where several machines ran it."""
    if said_number("GROUP_WORLD_SIZE", 1) > 1:
        return "the same torchrun command, with --resume, on every machine"
    ranks = [f"--nproc-per-node={os.environ['LOCAL_WORLD_SIZE']}"] if "LOCAL_WORLD_SIZE" in os.environ else []
    command = [*_started(), sys.argv[1]] if by_console() else _started()
    if ranks:
        module = ["-m", "metarl.experiments.console", sys.argv[1]] if by_console() else command[1:]
        command = ["torchrun", *ranks, *module]
    further = [] if "--resume" in argv else ["--resume"]
    return shlex.join([*command, *argv, *further])
