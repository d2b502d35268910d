"""Runs that are killed again and again: SIGKILL at random moments, also while a checkpoint is written."""

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from scripts import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl.engine.params import ravel
from metarl.training.checkpoint import load

KILLS = 100
ITERATIONS = 400
FLAGS = (
    f"navigation --tasks 2 --episodes 3 --horizon 10 --hidden-sizes 100 100 --iterations {ITERATIONS} "
    "--evaluate-every 37 --validation-tasks 2 --evaluation-episodes 2 --evaluation-steps 1"
).split()


def timeless(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "metrics.csv").open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if not name.startswith("time/")} for row in csv.DictReader(file)
        ]


def test_a_hundred_kills(tmp_path: Path) -> None:
    """Every resume goes on, and the end is bitwise that of the unbroken run, logs without gaps or duplicates."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start = time.monotonic()
    script = [sys.executable, str(ROOT / "experiments" / "train.py"), *FLAGS]
    subprocess.run([*script, "--run-dir", str(whole)], check=True, capture_output=True, timeout=1000)
    print(f"unbroken: {time.monotonic() - start:.0f} s")
    command = [*script, "--resume", "--run-dir", str(killed)]
    draw, kills, while_writing = random.Random(0), 0, 0
    while kills < KILLS:
        before = progress(killed)
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if kills % 2:  # as soon as a temporary file is seen, some iterations later: a checkpoint is being written
            wait_for_iteration(child, killed, before + draw.randint(1, 4))
            while child.poll() is None and not list(killed.glob(".*.tmp")):
                pass
        else:
            wait_for_iteration(child, killed, before + draw.randint(0, 3))
            time.sleep(draw.random() * 0.1)
        if child.poll() is None:
            child.send_signal(signal.SIGKILL)
            while_writing += bool(list(killed.glob(".*.tmp")))
            kills += 1
        _, errors = child.communicate()
        assert "error" not in errors and "Traceback" not in errors, errors
        assert progress(killed) >= before
        if child.returncode == 0:
            break
    print(f"{kills} kills, {while_writing} with a file half-written, at iteration {progress(killed)}")
    assert kills == KILLS
    subprocess.run(command, check=True, capture_output=True, timeout=1000)
    for name in ("checkpoint.pt", "checkpoint.previous.pt", "best.pt"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert timeless(killed) == timeless(whole)
    assert [int(row["iteration"]) for row in timeless(killed)] == list(range(ITERATIONS + 1))
    assert not list(killed.glob(".*.tmp"))
    events = EventAccumulator(str(killed), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("outer/kl")] == list(range(ITERATIONS))


def progress(run_dir: Path) -> int:
    path = run_dir / "checkpoint.pt"
    return load(path).iteration if path.exists() else 0


def wait_for_iteration(child: subprocess.Popen[str], run_dir: Path, iteration: int) -> None:
    """Until the run has come so far (or ended): starting takes seconds, iterations hundredths."""
    while child.poll() is None and progress(run_dir) < iteration:
        time.sleep(0.005)


@pytest.mark.parametrize("preset", ["navigation"])
def test_torchrun_replaces_a_killed_rank(tmp_path: Path, preset: str) -> None:
    """Of three ranks the second is killed in the middle: torchrun starts all again, and the run ends as ever."""
    flags = [preset, "--tasks", "5", "--episodes", "5", "--iterations", "60", "--hidden-sizes", "20", "--resume"]
    base = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "2"]
    script = str(ROOT / "experiments" / "train.py")
    whole = [*base, "--nproc-per-node", "3", script, *flags, "--run-dir", str(tmp_path / "whole")]
    assert subprocess.run(whole, check=False, capture_output=True, timeout=300).returncode == 0
    killed = [*base, "--nproc-per-node", "3", script, *flags, "--run-dir", str(tmp_path / "killed")]
    child = subprocess.Popen(killed, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while child.poll() is None and progress(tmp_path / "killed") < 20:
        time.sleep(0.01)
    ranks = subprocess.run(["pgrep", "-P", str(child.pid)], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["kill", "-KILL", ranks[1]], check=True)
    _, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors[-2000:]
    assert errors.count("60 iterations done") == 1
    a, b = (load(tmp_path / name / "checkpoint.pt") for name in ("whole", "killed"))
    assert torch.equal(ravel(a.theta), ravel(b.theta))
    rows = timeless(tmp_path / "killed")
    assert [int(row["iteration"]) for row in rows] == list(range(60))
