"""What needs which extra, and what does without: each package is hidden from imports in turn."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from hidden_packages import hidden
from scripts import ROOT, TOY, refused, run

from metarl.envs import make_family
from metarl.experiments.console import main
from metarl.extras import BESIDE, PACKAGES, MissingExtraError, missing, needs, require

SINUSOID = ["--iterations", "3", "--tasks", "2", "--shots", "3", "--queries", "3", "--hidden-sizes", "4"]
SINUSOID += ["--evaluation-tasks", "3", "--validation-tasks", "2", "--evaluate-every", "2", "--no-compile"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOLDERS = ("metarl", "envs", "experiments")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


def test_the_project_has_these_extras() -> None:
    extras = PROJECT["optional-dependencies"]

    def packages(requirements: list[str]) -> set[str]:
        return {re.split(r"[>=\[]", words)[0].replace("-", "_") for words in requirements}

    for extra, names in PACKAGES.items():
        assert packages(extras[extra]) == set(names)
        assert not packages(PROJECT["dependencies"]) & set(names)
    # What others are compared with is no part of metarl; what is for machines with a GPU alone is asked for by name.
    own = [extra for extra in PACKAGES if extra not in ("gpu", "peers")]
    assert extras["all"] == [f"metarl[{','.join(own)}]"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_packages_of_extras_late_or_says_which(path: Path) -> None:
    beside = (names for names, _ in BESIDE.values())
    optional = {name for names in (*PACKAGES.values(), *beside) for name in names}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            assert not optional & {name.split(".")[0] for name in names}, path


def test_a_run_needs_no_extra(tmp_path: Path) -> None:
    with hidden(*PACKAGES):
        assert all(missing(extra) for extra in PACKAGES)
        for preset, flags in (("sinusoid", SINUSOID), ("navigation", TOY)):
            run_dir = tmp_path / preset
            trained = run("train", preset, *flags, "--run-dir", run_dir, "--render-every", "1")
            assert trained.returncode == 0, trained.stderr
            assert "warning: no files for TensorBoard, which is not installed: pip install" in trained.stderr
            assert "warning: no films while training" in trained.stderr
            assert "watch:" not in trained.stderr
            assert run("evaluate", run_dir).returncode == 0
            assert not list(run_dir.rglob("events*"))
            assert (run_dir / "metrics.csv").is_file()
    drawn = ["render", tmp_path / "sinusoid", "--output", tmp_path / "film.png"]
    with hidden("plots"):
        refused(run(*drawn), "figures need matplotlib", "pip install 'metarl[plots]'")
    assert run(*drawn).returncode == 0


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("mujoco", ["train", "cheetah-dir", "--iterations", "1"]),
        ("mujoco", ["benchmark", "sampler"]),
        ("gpu", ["benchmark", "device"]),
        ("plots", ["plot", "a run", "--output", "figure.png"]),
        ("render", ["render", "a run", "--output", "film.gif"]),
        ("render", ["demo"]),
        ("peers", ["benchmark", "peers"]),
    ],
)
def test_one_line_names_the_extra(
    extra: str, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/metarl", *words])
    with hidden(extra), pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert re.fullmatch(rf"error: .* need \w+, which is not installed: pip install 'metarl\[{extra}\]'\n", error), error
    assert not list(tmp_path.iterdir())


def test_simulations_on_a_device_name_their_extra(tmp_path: Path) -> None:
    family = make_family("metarl/HalfCheetahDir-v0", simulator="warp").on("cpu")
    words = re.escape("simulations on a device need mujoco_warp, which is not installed: pip install 'metarl[gpu]'")
    with hidden("gpu"):
        with pytest.raises(MissingExtraError, match=words):
            family.build(1, horizon=1)
        started = run("train", "cheetah-dir", "--simulator", "warp", "--run-dir", tmp_path / "run")
    assert started.returncode == 2
    assert re.search(f"^error: {words}$", started.stderr, re.MULTILINE)
    assert not list(tmp_path.iterdir())


def test_other_missing_packages_are_their_own_errors() -> None:
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"), needs("mujoco", "robots"):
        raise ModuleNotFoundError("No module named 'nowhere_to_be_found'", name="nowhere_to_be_found")
    with hidden("render"), pytest.raises(MissingExtraError, match="films need imageio"):
        require("render", "films")
    require("render", "films")
