"""Signals: what hangs is ended within the grace time, with the last checkpoint."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bowl import Bowl, roll
from scripts import ROOT

import metarl
from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params
from metarl.problem import Metrics
from metarl.training.callbacks.callback import Callback, Moment
from metarl.training.checkpoint import load
from metarl.training.interruption import OverdueError, StoppedError, wishes

HERE = Path(__file__).parent


class Hanging(Bowl):
    """Asks to stop in iteration 2, and then never ends it."""

    def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
        if iteration == 2:
            signal.raise_signal(signal.SIGTERM)
            while True:
                try:
                    time.sleep(60)
                except Exception:  # what is tested: the end of the grace time gets through careless code like this
                    continue
        return super().collect(theta, iteration)


def test_an_iteration_that_hangs_ends_within_the_grace_time(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(StoppedError, match="stopped by SIGTERM after 2 iterations") as stopped:
        metarl.train(
            Hanging(), roll(), run_dir=tmp_path / "run", iterations=9, sinks=[], grace=0.2, checkpoint_every=100
        )
    assert stopped.value.exit_status == 143
    assert time.monotonic() - start < 4
    assert load(tmp_path / "run" / "checkpoint.pt").iteration == 2  # though none was due
    metarl.train(Bowl(), roll(), run_dir=tmp_path / "run", iterations=4, sinks=[], resume=True)
    metarl.train(Bowl(), roll(), run_dir=tmp_path / "whole", iterations=4, sinks=[])
    whole, resumed = (tmp_path / name / "checkpoint.pt" for name in ("whole", "run"))
    assert resumed.read_bytes() == whole.read_bytes()


def test_a_wish_within_the_grace_time_finishes_the_iteration(tmp_path: Path) -> None:
    class Asking(Callback):
        def iteration(self, moment: Moment) -> None:
            if moment.iteration == 1:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="after 3 iterations"):
        metarl.train(Bowl(), roll(), run_dir=tmp_path, iterations=9, callbacks=[Asking()], sinks=[], grace=30)
    assert load(tmp_path / "checkpoint.pt").iteration == 3


def test_a_wish_in_the_last_iteration_lets_it_complete(tmp_path: Path) -> None:
    class Asking(Bowl):
        def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
            signal.raise_signal(signal.SIGTERM)
            return super().collect(theta, iteration)

    assert metarl.train(Asking(), roll(), run_dir=tmp_path, iterations=1, sinks=[]).iteration == 1


def test_the_grace_time_starts_with_the_first_signal_and_ends_with_the_block() -> None:
    heard: list[str] = []
    with wishes(heard.append, 0.1) as wish:
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert (wish.signal, wish.overdue) == (signal.SIGTERM, False)
    assert len(heard) == 1 and heard[0].startswith("SIGTERM: finishing the iteration, for 0.1 seconds at most")
    assert issubclass(OverdueError, BaseException) and not issubclass(OverdueError, Exception)


def test_what_python_cannot_interrupt_is_ended_from_outside(tmp_path: Path) -> None:
    """Foreign code that does not return: its process ends all the same, with the signal's status."""
    program = (
        "import ctypes, signal, sys\n"
        f"sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]\n"
        "import metarl.training.interruption as interruption\n"
        "interruption.DEAF = 0.2\n"
        "with interruption.wishes(print, 0.2):\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"  # deaf
        "    while True: ctypes.CDLL(None).sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 143, done.stderr


def test_a_process_whose_launcher_was_killed_is_asked_to_stop() -> None:
    """The launcher starts a rank, and is killed: the rank hears SIGTERM, though nobody sends one."""
    rank = (
        "import signal, sys, time\n"
        f"sys.path[:0] = [{str(ROOT)!r}]\n"
        "from metarl.training import distributed, interruption\n"
        "with interruption.wishes(print) as wish:\n"
        "    distributed._stop_with_parent(0.05)\n"
        "    print('ready', flush=True)\n"
        "    while wish.signal is None: time.sleep(0.05)\n"
        "print('stopped', flush=True)\n"
    )
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {rank!r}])"
    with subprocess.Popen([sys.executable, "-c", launcher], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, signal.SIGKILL)
        assert child.stdout.read().endswith("stopped\n")  # until the rank, too, has closed it


@pytest.mark.parametrize(
    "failure", [ValueError("torch.compile failed (cc was killed)"), BrokenPipeError("a simulator is gone")]
)
def test_an_error_after_a_signal_is_a_consequence_of_it(failure: Exception, tmp_path: Path) -> None:
    """A signal to the whole group also ends a compiler, or a simulator, that the iteration waits for."""

    class Failing(Bowl):
        def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
            if iteration == 2:
                signal.raise_signal(signal.SIGTERM)
                raise failure
            return super().collect(theta, iteration)

    lost = f"the one in hand failed after the signal: {type(failure).__name__}: {failure}"
    with pytest.raises(StoppedError, match=re.escape(f"stopped by SIGTERM after 2 iterations ({lost})")) as stopped:
        metarl.train(Failing(), roll(), run_dir=tmp_path, iterations=9, sinks=[], checkpoint_every=100)
    assert stopped.value.exit_status == 143
    assert load(tmp_path / "checkpoint.pt").iteration == 2


def test_what_is_no_consequence_of_a_signal_stays_what_it_is() -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space left"), wishes(lambda words: None, 30):
        signal.raise_signal(signal.SIGTERM)
        raise full
    with pytest.raises(ValueError, match="mine"), wishes(lambda words: None, 30):
        raise ValueError("mine")
