"""Runs, ranks and hosts that are killed: SIGKILL at random moments, also while a checkpoint is written."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from scripts import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl.engine.params import ravel
from metarl.experiments.benchmarks.ranks import ADDRESS, TORCHRUN, TRAIN, hosts, on
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
    draw, kills, while_writing, start_up = random.Random(0), 0, 0, 3.0
    while kills < KILLS:
        before, started = progress(killed), time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if kills % 4 == 2:  # while it starts, and reads and rewrites what is there
            time.sleep(draw.uniform(0.3, 1.2) * start_up)
        elif kills % 2:  # as soon as a temporary file is seen, some iterations later: a checkpoint is being written
            wait_for_iteration(child, killed, before + draw.randint(1, 4))
            while child.poll() is None and not list(killed.glob(".*.tmp")):
                pass
        else:
            wait_for_iteration(child, killed, before + 1)
            start_up = time.monotonic() - started
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
    assert while_writing > 10
    subprocess.run(command, check=True, capture_output=True, timeout=1000)
    for name in ("checkpoint.pt", "checkpoint.previous.pt", "best.pt"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    assert timeless(killed) == timeless(whole)
    assert [int(row["iteration"]) for row in timeless(killed)] == list(range(ITERATIONS + 1))
    assert not list(killed.glob(".*.tmp"))
    events = EventAccumulator(str(killed), size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("outer/kl")] == list(range(ITERATIONS))


def test_torchrun_is_asked_to_stop(tmp_path: Path) -> None:
    """Both ranks finish the iteration, the first writes the checkpoint; one process goes on from there."""
    flags = "navigation --tasks 4 --episodes 3 --horizon 10 --hidden-sizes 20 --checkpoint-every 1000 --resume"
    train = [TRAIN, *flags.split(), "--run-dir", str(tmp_path), "--iterations"]
    command = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", *train, "100000"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while child.poll() is None and not (tmp_path / "metrics.csv").exists():
        time.sleep(0.1)
    time.sleep(3.0)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=60)
    assert errors.count("stopped by SIGTERM after ") == 1
    done = progress(tmp_path)
    assert done > 0
    assert f"stopped by SIGTERM after {done} iterations; go on with: torchrun --nproc-per-node=2 " in errors
    subprocess.run([sys.executable, *train, str(done + 2)], check=True, capture_output=True, timeout=100)
    assert [int(row["iteration"]) for row in timeless(tmp_path)] == list(range(done + 2))


def progress(run_dir: Path) -> int:
    path = run_dir / "checkpoint.pt"
    return load(path).iteration if path.exists() else 0


def wait_for_iteration(child: subprocess.Popen[str], run_dir: Path, iteration: int) -> None:
    """Until the run has come so far (or ended): starting takes seconds, iterations hundredths."""
    while child.poll() is None and progress(run_dir) < iteration:
        time.sleep(0.005)


def test_torchrun_replaces_a_killed_rank(tmp_path: Path) -> None:
    """Of three ranks the second is killed in the middle: torchrun starts all again, and the run ends as ever."""
    flags = ["navigation", "--tasks", "5", "--episodes", "5", "--iterations", "60", "--hidden-sizes", "20", "--resume"]
    command = [*TORCHRUN, "--standalone", "--max-restarts", "2", "--nproc-per-node", "3", TRAIN, *flags]
    subprocess.run([*command, "--run-dir", str(tmp_path / "whole")], check=True, capture_output=True, timeout=300)
    command += ["--run-dir", str(tmp_path / "killed")]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
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


def test_a_host_dies_and_another_comes(tmp_path: Path) -> None:
    """Training goes on with the one that is left, then with both; the log has every iteration once."""
    run_dir = tmp_path / "run"
    flags = f"navigation --tasks 16 --episodes 5 --horizon 20 --iterations 150 --resume --run-dir {run_dir}"

    def host(index: int) -> subprocess.Popen[bytes]:
        meeting = f"--rdzv-endpoint {ADDRESS.format(1)}:29500 --rdzv-conf last_call_timeout=5,is_host={1 - index}"
        words = f"--nnodes 1:2 --max-restarts 3 --rdzv-backend c10d {meeting} --local-addr {ADDRESS.format(index + 1)}"
        command = [*on(index), *TORCHRUN, *words.split(), TRAIN, *flags.split()]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        return subprocess.Popen(command, env=variables, stderr=subprocess.DEVNULL)

    def ranks(index: int) -> list[str]:
        name = on(index)[3]
        return subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split()

    def wait_for(iteration: int) -> None:
        deadline = time.monotonic() + 120
        while progress(run_dir) < iteration:
            assert time.monotonic() < deadline, f"still at iteration {progress(run_dir)}"
            time.sleep(0.1)

    with hosts(2, 0.0):
        first, second = host(0), host(1)
        wait_for(20)
        subprocess.run(["kill", "-KILL", *ranks(1)], check=True)
        second.wait()
        wait_for(progress(run_dir) + 20)
        second = host(1)
        while len(ranks(1)) < 2:  # torchrun, and its rank: they have met
            time.sleep(0.1)
        wait_for(progress(run_dir) + 20)
        assert first.wait(300) == second.wait(300) == 0
    assert [int(row["iteration"]) for row in timeless(run_dir)] == list(range(150))
