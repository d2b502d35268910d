"""An environment, or a module of the user's, that moves the process: paths lead from where the command was started."""

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
from scripts import ROOT, TOY, refused, run

import metarl
from metarl.experiments.commands import command_line
from metarl.rl.environments import ENVIRONMENTS
from metarl.starting_folder import from_start, moves, start, started_here
from metarl.training.interruption import StoppedError
from metarl.training.run_directory import read_config

RESTLESS = """
import os
from pathlib import Path
import numpy as np
from examples.pendulum import GravityPendulum
from metarl.training.callbacks.callback import Callback

ELSEWHERE = Path(__file__).parents[1] / "elsewhere"
AT = "WHEN"

def move(when):
    if when == AT:
        os.chdir(ELSEWHERE)

class Restless(GravityPendulum):
    def __init__(self, **others):
        super().__init__(**others)
        move("making")

    def reset(self, *, seed=None, options=None):
        move("reset")
        return super().reset(seed=seed, options=options)

    def render(self):
        return np.zeros((16, 16, 3), np.uint8)

move("import")
"""
CALLBACK = """
from metarl.training.callbacks.callback import Callback

class Mine(Callback):
    pass
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's; the modules and the path are as before afterwards."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for folder in ("mine", "elsewhere"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    yield tmp_path / "mine"
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("when", ["import", "making", "reset"])
def test_paths_of_every_command_lead_from_where_it_was_started(
    when: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read or written in the folder that the environment moved to was looked for there, or appeared there."""
    name = f"restless_{when}"
    (here / f"{name}.py").write_text(RESTLESS.replace("WHEN", when))
    (here / f"callback_{when}.py").write_text(CALLBACK)
    (here / "far.csv").write_text("30\n40\n")
    elsewhere = here.parent / "elsewhere"
    environment = ("--environment", f"{name}.py:Restless")
    own = ("--callback", f"callback_{when}.py:Mine")

    def done(script: str, *words: str) -> str:
        monkeypatch.chdir(here)
        # As in a new process.
        sys.modules.pop(name, None)
        monkeypatch.setattr(ENVIRONMENTS, "_found", {})
        result = run(script, *words)
        assert result.returncode == 0, result.stderr
        # plot resets no environment.
        assert Path.cwd() == (here if (script, when) == ("plot", "reset") else elsewhere)
        assert not list(elsewhere.iterdir())
        return result.stdout + result.stderr

    said = done("train", "custom", *environment, *TOY, *own, "--run-dir", "first")
    assert f"note: it moves the process from {here} to {elsewhere}: relative paths that" in said
    assert read_config(here / "first").iterations == 2
    done("train", "custom", *environment, *TOY, "--initial-parameters", "first", "--run-dir", "runs/second")
    done("train", "--resume", "--run-dir", "first", "--iterations", "3")
    done("evaluate", "first")
    done("evaluate", "runs/second", "--task-file", "far.csv", "--output", "scores")
    assert (here / "scores" / "evaluation.csv").is_file()
    done("render", "first", "--output", "end.png")
    done("plot", "first", "--output", "figures/one.png", "--table", "one.csv")
    assert all((here / file).is_file() for file in ("end.png", "figures/one.png", "one.csv"))
    monkeypatch.chdir(here)
    sys.modules.pop(name)
    monkeypatch.setattr(ENVIRONMENTS, "_found", {})
    agent = metarl.load_agent("first")
    assert agent.config.iterations == 3


def test_the_command_that_goes_on_leads_from_where_the_stopped_one_was_started(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(arguments: object) -> None:
        os.chdir(here.parent)
        raise StoppedError(signal.SIGTERM, 2)

    file = ROOT / "experiments" / "train.py"
    monkeypatch.setattr(sys, "argv", [str(file)])
    with pytest.raises(SystemExit):
        command_line.run(lambda argv: None, stopped, ["navigation"])
    words = shlex.split(capsys.readouterr().err.removeprefix("stopped by SIGTERM after 2 iterations; go on with: "))
    assert [(here / word).resolve() for word in words[:2]] == [Path(sys.executable).resolve(), file]
    assert words[2:] == ["navigation", "--resume"]


def test_a_folder_that_is_gone(here: Path) -> None:
    shutil.rmtree(here)
    refused(run("train", "navigation", *TOY), "the folder that this command was started in is gone")


def test_a_path_is_as_it_was_given_while_nothing_has_moved(here: Path) -> None:
    assert from_start(Path("run")) == Path("run")
    assert start() == here
    with started_here():
        assert from_start(Path("run")) == Path("run")
        os.chdir(here.parent)
        assert from_start(Path("run")) == here / "run"
        assert from_start(here.parent) == here.parent
        assert start() == here
        shutil.rmtree(here)
        os.chdir(here.parent / "elsewhere")
        (here.parent / "elsewhere").rmdir()
        assert from_start(Path("run")) == here / "run"
        with moves() as remarks:
            pass
        assert remarks[0].startswith(f"it moves the process from {here} to a folder that is gone: relative")
        os.chdir(here.parent)


def test_check_environment_tells_of_it(here: Path) -> None:
    (here / "restless_check.py").write_text(RESTLESS.replace("WHEN", "reset"))
    right = f"it moves the process from {here} to {here.parent / 'elsewhere'}: relative paths that your own code reads"
    assert metarl.check_environment("restless_check.py:Restless")[-1].startswith(right)
    os.chdir(here)
    env: gymnasium.Env = sys.modules["restless_check"].Restless()
    assert metarl.check_environment(env)[-1].startswith(right)
    assert not any("moves" in remark for remark in metarl.check_environment(env))
