"""The scripts as their user meets them, for tests: through their own `command`, at toy size."""

import importlib
import io
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TOY = [
    "--iterations",
    "2",
    "--tasks",
    "2",
    "--episodes",
    "3",
    "--horizon",
    "6",
    "--hidden-sizes",
    "8",
    "--cg-iterations",
    "2",
    "--evaluation-tasks",
    "3",
    "--evaluation-episodes",
    "2",
    "--evaluation-steps",
    "2",
]


def sized(flags: list[str], method: str) -> list[str]:
    """Those of the flags that mean something for a method: an oracle is not adapted."""
    if method != "oracle" or "--evaluation-steps" not in flags:
        return flags
    i = flags.index("--evaluation-steps")
    return flags[:i] + flags[i + 2 :]


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def in_a_process(script: str, *arguments: str | Path) -> Result:
    command = [sys.executable, str(ROOT / "experiments" / f"{script}.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return Result(done.returncode, done.stdout, done.stderr)


def as_main(script: str, *arguments: str | Path) -> Result:
    """The script's file as Python starts it, but in this process: a start costs seconds."""
    file = ROOT / "experiments" / f"{script}.py"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(file.parent), *(folder for folder in sys.path if folder)])
        return _caught(lambda: runpy.run_path(str(file), run_name="__main__"), str(file), arguments)


def run(script: str, *arguments: str | Path) -> Result:
    """The script's `command`, in this process."""
    module = importlib.import_module(f"metarl.experiments.{script}")
    return _caught(lambda: module.command([str(argument) for argument in arguments]), f"{script}.py", arguments)


def _caught(call: Callable[[], object], name: str, arguments: tuple[str | Path, ...]) -> Result:
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as out, io.StringIO() as err:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "argv", [name, *map(str, arguments)])  # which config.json records
        code = 0
        try:
            call()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, out.getvalue(), err.getvalue())


def refused(result: Result, *words: str) -> None:
    """Exit status 2, one line that starts with `error:` and names what is wrong, no stack trace."""
    assert result.returncode == 2, result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[-1], lines[-1]
    assert sum(line.startswith("error: ") for line in lines) == 1
