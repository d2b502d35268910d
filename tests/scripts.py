"""The scripts as their user meets them, for tests: through their own `command`, at toy size."""

import importlib
import io
import subprocess
import sys
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


def run(script: str, *arguments: str | Path) -> Result:
    """The script's `command`, in this process: a start costs seconds."""
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as out, io.StringIO() as err:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])  # which config.json records
        code = 0
        try:
            importlib.import_module(f"metarl.experiments.{script}").command([str(argument) for argument in arguments])
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
