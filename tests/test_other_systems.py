"""macOS has no `sched_getaffinity`, Windows no `fcntl`, `mallopt`, SIGHUP or `pthread_kill`: it works without."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from scripts import TOY, run

from metarl import files, operating_system
from metarl.arguments import require_room
from metarl.envs.physics import mujoco_threads
from metarl.experiments import reproduce
from metarl.experiments.commands import command_line, started_command
from metarl.files import owned, write_atomically
from metarl.training.interruption import StoppedError, wishes


def test_cores_without_affinities(monkeypatch: pytest.MonkeyPatch) -> None:
    assert operating_system.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sched_setaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert operating_system.cores() == 6
    operating_system.keep_to(os.getpid(), [0])
    assert reproduce.Workers(4)._shares == [{0, 4}, {1, 5}, {2}, {3}]
    physics: Any = mujoco_threads.MujocoThreads("half_cheetah.xml", frame_skip=1)
    assert physics._threads == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert operating_system.cores() == 1


def test_memory_of_a_machine_and_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    limits = tmp_path / "memory.max", tmp_path / "limit_in_bytes"
    monkeypatch.setattr(operating_system, "LIMITS", limits)
    assert operating_system.memory() == 4096000
    limits[0].write_text("max\n")
    limits[1].write_text("1000000\n")
    assert operating_system.memory() == 1000000
    monkeypatch.delattr(os, "sysconf")
    assert operating_system.memory() is None
    require_room(10**30, "what nobody knows the size of")


def test_a_run_without_locks_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "locks", None)
    words = "cannot be locked .this system has no such locks.: see that one run writes"
    with pytest.warns(UserWarning, match=words), owned(tmp_path), owned(tmp_path):
        pass
    result = run("train", "navigation", "--method", "random", *TOY, "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "warning: " in result.stderr


def test_a_folder_that_cannot_be_opened_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, flags: int, *others: Any) -> int:
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *others)

    opened = os.open
    monkeypatch.setattr(os, "open", refuse)
    write_atomically(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


def test_what_hangs_is_interrupted_without_pthread_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "pthread_kill")
    with pytest.raises(StoppedError, match="stopped by SIGTERM"), wishes(lambda words: None, 0.1):
        signal.raise_signal(signal.SIGTERM)
        while True:
            time.sleep(0.01)


def test_windows_has_no_c_library_of_that_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: Any) -> Any:
        raise TypeError("there is no library without a name")

    monkeypatch.setattr(ctypes, "CDLL", none)
    monkeypatch.setattr(sys, "platform", "win32")
    command_line.keep_freed_memory()


def test_a_path_on_another_drive_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, start: Any) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert started_command.shown_path("D:/python") == "D:/python"


def test_signals_that_a_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(signal, "SIGHUP")
    before = signal.getsignal(signal.SIGTERM)
    with reproduce.Workers(1):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_home_in_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell leaves `~` alone in --run-dir=~/run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    sizes = ["--method", "random", *TOY]
    assert run("train", "navigation", *sizes, "--run-dir=~/a run").returncode == 0
    assert run("train", "--resume", "--run-dir=~/a run").returncode == 0
    starting = ["--initial-parameters=~/a run", "--run-dir=~/other", "--iterations", "1"]
    assert run("train", "navigation", *TOY[2:], *starting).returncode == 0
    (tmp_path / "far.csv").write_text("2,2\n")
    assert run("evaluate", "~/a run", "--output=~/scores").returncode == 0
    assert run("evaluate", "~/a run").returncode == 0
    assert run("evaluate", "~/a run", "--task-file=~/far.csv").returncode == 0
    assert run("plot", "~/a run", "--output=~/f.svg", "--table=~/t.csv").returncode == 0
    assert run("render", "~/a run", "--output=~/f.png").returncode == 0
    places = ("a run/config.json", "other/best.pt", "scores/evaluation.csv", "a run/tasks-far", "f.svg", "t.csv")
    assert all((tmp_path / place).exists() for place in (*places, "f.png"))
    assert not (tmp_path / "~").exists()


def test_the_backend_of_a_notebook_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """With that value, matplotlib cannot be imported where Jupyter is not installed."""
    for value, stays in (("module://nowhere.backend_inline", False), ("module://json.tool", True), ("agg", True)):
        monkeypatch.setenv("MPLBACKEND", value)
        operating_system.forget_missing_backend()
        assert ("MPLBACKEND" in os.environ) == stays


def test_scripts_start_in_a_notebook_of_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matplotlib can be imported after `metarl.experiments`, which test_architecture.py has scripts import first."""
    monkeypatch.setenv("MPLBACKEND", "module://nowhere.backend_inline")
    program = "import metarl.experiments, matplotlib; print(matplotlib.get_backend())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "nowhere" not in done.stdout
