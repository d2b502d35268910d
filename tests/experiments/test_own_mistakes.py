"""A mistake in the user's own code shows the user's own line; one line is for values that metarl refuses."""

import sys
import traceback
from pathlib import Path

import pytest
from scripts import TOY, refused, run

from metarl.envs import TaskVectorEnv
from metarl.envs.navigation import Navigation2D

ENVIRONMENT = "custom --environment mistaken:Wrong-v0 --environment-options"
SMALL = TOY[: TOY.index("--evaluation-tasks")]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (f"{ENVIRONMENT} where step", ValueError),
        (f"{ENVIRONMENT} where step kind KeyError", KeyError),
        (f"{ENVIRONMENT} where step kind OSError", OSError),
        (f"{ENVIRONMENT} where step kind MemoryError", MemoryError),
        (f"{ENVIRONMENT} where step kind RuntimeError", RuntimeError),
        (f"{ENVIRONMENT} where reset", ValueError),
        (f"{ENVIRONMENT} where sample_tasks", ValueError),
        (f"{ENVIRONMENT} where sample_tasks kind OverflowError", OverflowError),
        ("navigation --policy mistaken:Net", ValueError),
        ("navigation --rule mistaken:WrongRule", ValueError),
        ("navigation --callback mistaken:WrongCallback", ValueError),
        ("navigation --callback mistaken:WrongMeasure", KeyError),
        ("navigation --callback mistaken:WrongEnd", OSError),
        ("sinusoid --dataset mistaken:unread", ValueError),
        ("sinusoid --dataset mistaken:wrong", ValueError),
    ],
)
def test_the_users_line_is_shown(arguments: str, kind: type[Exception], tmp_path: Path) -> None:
    sizes = ["--iterations", "1"] if "sinusoid" in arguments else SMALL
    if "mistaken:Net" in arguments:
        sizes = [word for word in SMALL if word not in ("--hidden-sizes", "8")]
    with pytest.raises(kind, match="the user's idea") as error:
        run("train", *arguments.split(), *sizes, "--run-dir", tmp_path / "run")
    assert any(frame.name == "mistake" for frame in traceback.extract_tb(error.tb))


def test_a_worker_shows_it_too(tmp_path: Path) -> None:
    options = f"{ENVIRONMENT} where worker --workers 1".split()
    result = run("train", *options, *SMALL, "--run-dir", tmp_path / "run")
    assert result.returncode == 1
    assert "in mistake" in result.stderr
    assert "mistaken.py" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: the worker process of environments 0 to 5 failed, asked")


def test_what_metarl_refuses_of_the_users_code_stays_a_line(tmp_path: Path) -> None:
    result = run("train", *f"{ENVIRONMENT} where nothing".split(), *SMALL, "--run-dir", tmp_path / "run")
    refused(result, "step must return (observation, reward, terminated, truncated, info)")


def leave(*_: object, **__: object) -> None:
    """What some libraries do where they should raise."""
    sys.exit(0)


def test_an_environment_that_exits_is_no_success(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its step, or where the command line is read: status 0 would say that all went well."""
    monkeypatch.setattr(TaskVectorEnv, "step", leave)
    film = ["--output", tmp_path / "film.gif"]
    training = ["train", "navigation", *TOY, "--run-dir", tmp_path / "run"]
    for line in (training, ["evaluate", trained], ["render", trained, *film]):
        with pytest.raises(RuntimeError, match=r"called sys\.exit\(0\)"):
            run(*line)
    monkeypatch.setattr(Navigation2D, "spaces", leave)
    with pytest.raises(RuntimeError, match=r"the command line names called sys\.exit"):
        run("train", "navigation", "--run-dir", tmp_path / "other")


def test_a_start_that_is_refused_leaves_no_directory(tmp_path: Path) -> None:
    refused(run("train", "navigation", *TOY, "--not-adapted", "head", "--run-dir", tmp_path / "run"), "'head'")
    assert not (tmp_path / "run").exists()


def test_environments_that_cannot_be_made_so_often_leave_no_directory(tmp_path: Path) -> None:
    """The check plays two of them; the run's six were made after its first checkpoint."""
    with pytest.raises(RuntimeError, match="no licence for a fifth"):
        run("train", "custom", "--environment", "mistaken:Licensed", *SMALL, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()
