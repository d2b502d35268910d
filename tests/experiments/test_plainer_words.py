"""Mistakes on a command line in words that say what would be right, and places that must not be written to."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts import refused, run

from metarl.experiments.commands.plainer_words import in_plain_words
from metarl.experiments.figures.evaluated_runs import read_run, replaced_since
from metarl.training.checkpoint import load

TWICE = ("--environment-options a 1", "--environment-options b 2")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Missing value for argument '--iterations'. Expected 1 values.", "--iterations needs a value"),
        (
            "invalid choice 'worst' for argument '--checkpoint'. Expected one of ('None', 'best', 'last').",
            "--checkpoint must be one of 'best', 'last'; got 'worst'",
        ),
        (
            "invalid choice 'x' for argument '--counting'. Expected one of ('episodes', 'timesteps', 'None').",
            "--counting must be one of 'episodes', 'timesteps'; got 'x'",
        ),
        (
            "Error parsing --tasks: no type matching {None}|INT could be instantiated from ['3.0']. Got errors:",
            "--tasks must be a whole number; got '3.0'",
        ),
        (
            "Error parsing --speed: no type matching {None}|FLOAT could be instantiated from ['x']. Got errors:",
            "--speed must be a number; got 'x'",
        ),
        (
            "Error parsing --step-sizes: no type matching {None}|{[FLOAT [FLOAT ...]]} could be from ['0.1', 'x'].",
            "--step-sizes must be numbers; got '0.1', 'x'",
        ),
        (
            "Error parsing --hidden-sizes: Could not find valid parse for arguments: ['a']",
            "--hidden-sizes cannot be 'a'",
        ),
        (
            "Error parsing --hidden-sizes: Could not find valid parse for arguments: ['[8,8]']",
            "--hidden-sizes cannot be '[8,8]': spaces separate several values",
        ),
    ],
)
def test_what_tyro_says_becomes_plain(theirs: str, ours: str) -> None:
    assert in_plain_words(f"╭─ Error ─╮\n│ {theirs} │\n╰─────────╯") == ours


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("evaluate RUN --tasks 3.0", "--tasks must be a whole number; got '3.0'"),
        ("evaluate RUN --checkpoint worst", "; got 'worst'"),
        ("evaluate RUN --step-sizes 0.1 x", "--step-sizes must be numbers; got '0.1', 'x'"),
        ("evaluate RUN --step-sizes", "--step-sizes needs at least one number"),
        ("evaluate RUN --output=", "--output must be a path; got an empty word"),
        ("evaluate RUN --output RUN/config.json", "config.json is a file; scores need a directory"),
        ("train custom --environment examples/own_environment.py:RodPendulum --environment-options size", "NAME VALUE"),
        (
            "train navigation --callback metarl.training.callbacks.csv:Csv",
            "callback 'metarl.training.callbacks.csv:Csv' is called without arguments: ",
        ),
        ("train navigation --run-dir=", "--run-dir must be a path; got an empty word"),
        ("train sinusoid --compile False", "what is either on or off is named as --NAME or --no-NAME"),
        (
            f"train custom {TWICE[0]} --environment examples.pendulum:GravityPendulum {TWICE[1]}",
            "--environment-options must be given once, with all pairs: NAME VALUE NAME VALUE ...",
        ),
        (
            "train custom --environment examples/own_environment.py:RodPendulum --environment-options a 1 b 2 a -3",
            "--environment-options must give every name once; it gives a 2 times",
        ),
        ("train navigation --method mamml", "must be one of maml, pretrained, oracle, random; got 'mamml'"),
        ("train navigation --grace 1e300", "grace must be a number of seconds, a million at most; got 1e+300"),
        (
            "train custom --environment examples/own_environment.py:RodPendulum --worker-timeout 1e9",
            "worker_timeout must be a number of seconds, a million at most; got 1000000000.0",
        ),
        ("plot RUN --evaluation validation --output f.png", "evaluate.py makes one by --validation"),
    ],
)
def test_mistakes_say_what_would_be_right(evaluated: Path, arguments: str, words: str) -> None:
    script, *others = arguments.replace("RUN", str(evaluated)).split()
    refused(run(script, *others), words)


def test_scores_never_replace_those_of_another_run(evaluated: Path, tmp_path: Path) -> None:
    other = shutil.copytree(evaluated, tmp_path / "other")
    before = (other / "evaluation.json").read_bytes()
    refused(run("evaluate", evaluated, "--output", other), "is the directory of another run, whose scores would be")
    within = other / "validation"
    refused(run("evaluate", evaluated, "--output", within), f"lies in {other}, another run, whose scores would be")
    assert not within.exists()
    assert (other / "evaluation.json").read_bytes() == before
    for kept in (b"{}", b"// settings of an editor"):  # of another program
        (other / "config.json").write_bytes(kept)
        assert run("evaluate", evaluated, "--output", other / "scores").returncode == 0


def test_an_evaluation_of_another_protocol_replaces_none_in_silence(evaluated: Path, tmp_path: Path) -> None:
    told = "warning: scores that were made otherwise are replaced"
    place = ("--output", tmp_path / "scores")
    first = run("evaluate", evaluated, *place)
    assert told not in first.stderr
    assert f"evaluation.json, evaluation.csv and evaluation.npz are in {tmp_path / 'scores'}\n" in first.stdout
    assert told not in run("evaluate", evaluated, *place).stderr
    other = run("evaluate", evaluated, *place, "--tasks", "2", "--step-sizes", "0.5", "--gradient-steps", "1")
    words = "(tasks 3, now 2; step_sizes [0.1], now [0.5]; 2 gradient steps, now 1); --output keeps both"
    assert f"{told} {words}" in other.stderr
    (tmp_path / "far.csv").write_text("3,3\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "far.csv").write_text("4,4\n")
    for file in ("far.csv", "far.csv", "b/far.csv"):
        done = run("evaluate", evaluated, "--task-file", tmp_path / file)
        assert (f"{told} (other tasks)" in done.stderr) == (file == "b/far.csv")
    shutil.rmtree(evaluated / "tasks-far")


def test_plot_tells_that_runs_were_evaluated_after_different_numbers_of_steps(
    evaluated: Path, tmp_path: Path, unpainted: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that some runs lack were left out in silence."""
    whole = dataclasses.replace(read_run(evaluated), scored=7)
    config = dataclasses.replace(whole.config, seed=2)
    short = dataclasses.replace(whole, scores=whole.scores[:1], config=config, directory=tmp_path)
    monkeypatch.setattr(
        "metarl.experiments.plot.read_run", lambda directory, _="": {evaluated: whole}.get(directory, short)
    )
    unpainted()
    figure = tmp_path / "figure.PNG"
    (tmp_path / "config.json").write_text("{}")  # of another program
    best = load(evaluated / "best.pt").iteration
    assert replaced_since(read_run(evaluated)) is None
    done = run("plot", evaluated, tmp_path, "--output", figure, "--table", tmp_path / "table.CSV")
    words = (
        "warning: the runs of maml were evaluated after up to 0 or 2 gradient steps: what follows step 0 is left out"
    )
    assert words in done.stderr
    # The run has gone on since, say.
    assert f"warning: {evaluated}: its scores are of iteration 7, its best parameters of {best}: eval" in done.stderr
    assert figure.is_file()
    assert (tmp_path / "table.CSV").is_file()
