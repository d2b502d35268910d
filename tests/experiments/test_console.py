"""The command `metarl`: what it starts, what its help calls things, and which commands it prints."""

import importlib
import importlib.metadata
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import ROOT, TOY, as_main

from metarl.experiments.commands.started_command import resume_command
from metarl.experiments.console import COMMANDS, main

pytestmark = pytest.mark.usefixtures("undrawn")


def console(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """The command in this process: its exit status."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/metarl", *map(str, words)])
    try:
        main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_it_says_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--help",), ("-h",)):
        assert console(monkeypatch, *words) == 0
        shown = capsys.readouterr().out
        assert all(f"\n  {name} " in shown for name in COMMANDS)
    assert console(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version("metarl")


@pytest.mark.parametrize(
    ("word", "words"), [("trian", "did you mean train?"), ("fly", f"choose one of {', '.join(COMMANDS)}")]
)
def test_an_unknown_command(
    word: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console(monkeypatch, word, "--help") == 2
    assert capsys.readouterr().err == f"error: there is no command {word!r}: {words}\n"


def test_ctrl_c_while_a_command_is_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib, "import_module", stopped)
    assert console(monkeypatch, "evaluate", "run") == 130
    assert capsys.readouterr().err == "interrupted: nothing was begun\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_under_its_own_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console(monkeypatch, name, "--help") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"metarl {name}" in shown
    assert f"experiments/{name}.py" not in shown


def test_help_of_a_group_is_a_whole_sentence(monkeypatch: pytest.MonkeyPatch, printed: Callable[[], str]) -> None:
    assert console(monkeypatch, "train", "navigation", "--help") == 0
    assert "Trust region policy optimisation (Schulman et al. 2015; Finn et al. 2017, section 4.2)" in printed()


def test_commands_that_it_prints_can_be_copied(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert console(monkeypatch, "train", "navigation", *TOY, "--run-dir", "a run") == 0
    said = re.findall(r"^(\w+): +(.*)$", capsys.readouterr().err, re.MULTILINE)
    commands = {name: shlex.split(command) for name, command in said}
    assert commands["evaluate"] == ["metarl", "evaluate", "a run"]
    assert Path(commands["watch"][0]).name == "tensorboard"
    assert commands["watch"][1:] == ["--logdir", "a run"]
    assert console(monkeypatch, *commands["evaluate"][1:]) == 0
    assert Path("a run/evaluation.csv").is_file()


@pytest.mark.parametrize(
    ("argv", "ranks", "expected"),
    [
        (["/somewhere/bin/metarl", "train"], {}, ["metarl", "train"]),
        (
            ["/somewhere/metarl/experiments/console.py", "train"],
            {},
            ["PY", "-m", "metarl.experiments.console", "train"],
        ),
        (["/somewhere/experiments/train.py"], {}, ["PY", "FILE"]),
        (
            ["/somewhere/bin/metarl", "train"],
            {"LOCAL_WORLD_SIZE": "2"},
            ["torchrun", "--nproc-per-node=2", "-m", "metarl.experiments.console", "train"],
        ),
        (["/somewhere/experiments/train.py"], {"LOCAL_WORLD_SIZE": "2"}, ["torchrun", "--nproc-per-node=2", "FILE"]),
    ],
)
def test_the_command_that_goes_on(
    argv: list[str], ranks: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["navigation", "--run-dir", "a run"]
    monkeypatch.setattr(sys, "argv", [*argv, *given])
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    words = shlex.split(resume_command(given))
    ends = {"PY": sys.executable, "FILE": argv[0]}
    paths = [str((tmp_path / word).resolve()) if word.startswith("..") else word for word in words[: len(expected)]]
    assert paths == [str(Path(ends[word]).resolve()) if word in ends else word for word in expected]
    assert words[len(expected) :] == [*given, "--resume"]


def test_the_scripts_in_the_checkout_go_on_working(tmp_path: Path) -> None:
    done = as_main("train", "navigation", *TOY, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    (follow_up,) = [line.removeprefix("evaluate: ") for line in done.stderr.splitlines() if "evaluate: " in line]
    python, script, run_dir = shlex.split(follow_up)
    assert (Path(script).resolve(), Path(run_dir)) == (ROOT / "experiments" / "evaluate.py", tmp_path / "run")
    assert importlib.import_module("metarl.experiments").__file__
    assert Path(python).exists()
