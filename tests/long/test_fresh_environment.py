"""The wheel in a new virtual environment, from the registry: with its own dependencies alone, then with extras."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wheel import Installed, install

SINUSOID = "--iterations 20 --no-compile --evaluate-every 10 --evaluation-tasks 20 --validation-tasks 10"
NAVIGATION = "--iterations 2 --tasks 3 --episodes 4 --evaluation-tasks 4"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("wheel"))


def started(environment: Path, command: str, folder: Path, status: int = 0) -> str:
    """What a line of a shell says, where the environment's commands come first."""
    path = os.pathsep.join([str(environment / "bin"), "/usr/bin", "/bin"])
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PATH": path}
    done = subprocess.run(
        command, shell=True, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=3600
    )
    assert done.returncode == status, (command, done.stdout, done.stderr)
    return done.stdout + done.stderr


def test_with_and_without_extras(installed: Installed, tmp_path: Path) -> None:
    environment, own = tmp_path / "environment", tmp_path / "own"
    for name in ("envs", "experiments"):
        (own / name).mkdir(parents=True)
        (own / name / "__init__.py").write_text("raise RuntimeError('the user's own')\n")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    started(environment, f"pip install --quiet '{installed.wheel}'", own)
    version = started(environment, "metarl --version", own)
    assert started(environment, "python -c 'import metarl; print(metarl.__version__)'", own) == version
    assert "pip install 'metarl[tensorboard]'" in started(environment, f"metarl train sinusoid {SINUSOID}", own)
    started(environment, f"metarl train navigation {NAVIGATION}", own)
    started(environment, "metarl evaluate runs/navigation-maml-seed1", own)
    for command, extra in (
        ("train cheetah-dir", "mujoco"),
        ("plot runs/navigation-maml-seed1 --output figure.png", "plots"),
        ("demo", "render"),
    ):
        assert f"pip install 'metarl[{extra}]'" in started(environment, f"metarl {command}", own, status=2)

    started(environment, f"pip install --quiet '{installed.wheel}[all]'", own)
    started(environment, "pip check", own)
    started(environment, "metarl demo && metarl demo cheetah --task -1 --output cheetah.gif", own)
    started(environment, "metarl plot runs/navigation-maml-seed1 --output figure.png", own)
    place = started(environment, "python -c 'from metarl.experiments.demo import RESULTS; print(RESULTS)'", own).strip()
    said = started(environment, f"metarl evaluate {place}/navigation-paper/maml-seed1 --output scores", own)
    assert "40 held-out tasks" in said
    assert {"demo.gif", "cheetah.gif", "figure.png", "scores"} <= {path.name for path in own.iterdir()}
