"""The same run by one to four processes, and by two hosts: network namespaces of this machine."""

import subprocess
from pathlib import Path

import pytest
import torch
from scripts import in_a_process
from torch import Tensor

from metarl.engine.params import ravel
from metarl.experiments.benchmarks.ranks import TORCHRUN, TRAIN, spread
from metarl.training.checkpoint import load

RUNS = {
    "navigation": "navigation --tasks 10 --episodes 10",
    "half-cheetah": "cheetah-dir --tasks 10 --episodes 10",
    "sinusoid": "sinusoid --no-compile --log-every 1",
}


def theta(run_dir: Path) -> Tensor:
    return ravel(load(run_dir / "checkpoint.pt").theta)


@pytest.mark.parametrize("name", RUNS)
def test_any_number_of_processes_is_the_same_run(name: str, tmp_path: Path) -> None:
    """Half-cheetah's contacts amplify the last bit: after five iterations its distance is printed, not judged."""
    for iterations, most in ((1, 1e-6), (5, 1e-5)):
        flags = [*RUNS[name].split(), "--iterations", str(iterations)]
        one = tmp_path / f"one-{iterations}"
        assert in_a_process("train", *flags, "--run-dir", one).returncode == 0
        for world in (2, 3, 4, "hosts"):
            run_dir = tmp_path / f"{world}-{iterations}"
            if world == "hosts":
                spread(2, 0.0, flags, run_dir)
            else:
                command = [*TORCHRUN, "--standalone", "--nproc-per-node", str(world), TRAIN, *flags]
                subprocess.run([*command, "--run-dir", str(run_dir)], check=True, capture_output=True, timeout=300)
            distance = ((theta(run_dir) - theta(one)).norm() / theta(one).norm()).item()
            print(f"{name}, {iterations} iterations, {world}: {distance:.1e}")
            assert torch.isfinite(theta(run_dir)).all()
            if name != "half-cheetah" or iterations == 1:
                assert distance <= most
