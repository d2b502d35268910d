"""A small run that several tests look at."""

from pathlib import Path

import pytest
from scripts import TOY, run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "maml"
    result = run("train", "navigation", *TOY, "--run-dir", run_dir)
    assert result.returncode == 0, result.stderr
    assert f"tensorboard --logdir {run_dir}" in result.stderr
    return run_dir


@pytest.fixture(scope="module")
def evaluated(trained: Path) -> Path:
    result = run("evaluate", trained)
    assert result.returncode == 0, result.stderr
    assert "95 % interval" in result.stdout
    return trained
