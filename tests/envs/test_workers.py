"""Environments in worker processes: the same numbers as in this one, and one clear error for what goes wrong there."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import slow

from metarl.envs import LoopVectorEnv, WorkerError
from metarl.envs.adapters import workers
from metarl.envs.adapters.block import ContractError

N = 5
TASKS = np.array([[5.0], [6.0], [9.0], [10.0], [15.0]])


def make(count: int, how: str = "nothing", timeout: float = 60.0) -> LoopVectorEnv:
    return LoopVectorEnv(functools.partial(slow.Trouble, how), N, workers=count, worker_timeout=timeout)


def played(env: LoopVectorEnv) -> list[Any]:
    """What twelve timesteps and a masked reset show."""
    shown: list[Any] = [env.reset(seed=3, options={"tasks": TASKS})]
    rng = np.random.default_rng(0)
    for t in range(12):
        shown.append(env.step(rng.uniform(-1, 1, (N, 1))))
        if t == 8:
            shown.append(env.reset(options={"reset_mask": np.arange(N) % 2 == 0}))
    shown.append(env.tasks)
    return shown


def test_numbers_are_the_same_in_any_number_of_processes_and_closed_ones_are_gone() -> None:
    expected = played(make(0))
    assert any(not np.array_equal(result[2], np.zeros(N)) for result in expected if len(result) == 5)
    # Of which some start processes themselves.
    env = make(2, "helped")
    processes = multiprocessing.active_children()
    assert len(processes) == 2
    actual = played(env)
    np.testing.assert_equal(actual, expected)
    np.testing.assert_array_equal(
        env.sample_tasks(np.random.default_rng(1), 4), make(0).sample_tasks(np.random.default_rng(1), 4)
    )
    env.close()
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(ValueError, match="these environments are closed"):
        env._group.step([0])


@pytest.mark.parametrize(
    ("how", "words", "where"),
    [
        ("raise", "environments 2 to 4 failed, asked to step: ValueError: the torque is too large", "in trouble"),
        ("die", r"environments 2 to 4 died \(exit status 3\), asked to step", ""),
        ("hang", r"environments 2 to 4 did not answer within 1 s \(to step\)", "in trouble"),
    ],
)
def test_what_goes_wrong_is_one_error_with_the_workers_traceback(how: str, words: str, where: str) -> None:
    env = make(2, how, timeout=1.0)
    env.reset(seed=0, options={"tasks": TASKS})
    processes, start = multiprocessing.active_children(), time.monotonic()
    with pytest.raises(WorkerError, match=words) as error:
        env.step(np.zeros((N, 1)))
    assert time.monotonic() - start < 30
    assert where in error.value.traceback
    if where:
        assert "slow.py" in error.value.traceback
    assert not any(process.is_alive() for process in processes)


def test_what_no_environment_may_return_is_a_line() -> None:
    for count in (0, 1):
        env = make(count, "misshapen")
        env.reset(seed=0, options={"tasks": TASKS})
        with pytest.raises(ContractError, match=r"observations must be of Box\(.*\); got float64 \(4,\)"):
            env.step(np.zeros((N, 1)))


def test_what_cannot_be_made_there() -> None:
    with pytest.raises(ValueError, match=r"cannot be pickled .*: give a function or class of a module"):
        LoopVectorEnv(lambda: gymnasium.make("GravityPendulum-v0"), 2, workers=1)
    with pytest.raises(ValueError, match="workers must be at least 0; got -1"):
        make(-1)
    wrong: Any
    for wrong, right in ((1e9, "a number of seconds, a million at most; got"), ("5", "a number of seconds; got '5'")):
        with pytest.raises(ValueError, match=f"worker_timeout must be {right}"):
            make(1, timeout=wrong)


def test_what_a_process_cannot_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook, whose classes exist in it alone: "died (exit status 1)" was all that was said."""
    here = type("Here", (slow.Trouble,), {"__module__": "slow", "__qualname__": "Here"})
    monkeypatch.setattr(slow, "Here", here, raising=False)
    words = r"died \(exit status 1\), asked to be made: it could not begin, .* in a module that it can import"
    with pytest.raises(WorkerError, match=words):
        LoopVectorEnv(here, 2, workers=1)


def test_one_environment_needs_no_process() -> None:
    before = multiprocessing.active_children()
    env = LoopVectorEnv(functools.partial(slow.Trouble, "nothing"), 1, workers=4)
    assert multiprocessing.active_children() == before
    env.close()


def test_ctrl_c_while_a_worker_hangs_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CLOSE_SECONDS", 0.2)
    env = make(2, "hang")
    env.reset(seed=0, options={"tasks": TASKS})
    processes = multiprocessing.active_children()
    assert len(processes) == 2
    pids = [process.pid for process in processes]
    for pid in pids:  # a terminal's Ctrl-C and a launcher's SIGTERM reach the workers, too
        assert pid is not None
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        env.step(np.zeros((N, 1)))
    assert not any(process.is_alive() for process in processes)


def test_workers_end_with_their_caller_even_in_the_middle_of_a_timestep() -> None:
    program = "import test_workers; test_workers.hang_forever()"
    where = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": where}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as caller:
        assert caller.stdout is not None
        pids = [int(word) for word in caller.stdout.readline().split()]
        assert len(pids) == 2
        caller.kill()
    deadline = time.monotonic() + workers.CLOSE_SECONDS + 20
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(runs, pids))


def hang_forever() -> None:
    """In a process of its own: print the workers' ids, and wait for one that hangs."""
    env = make(2, "hang")
    env.reset(seed=0, options={"tasks": TASKS})
    print(*(process.pid for process in multiprocessing.active_children()), flush=True)
    env.step(np.zeros((N, 1)))


def runs(pid: int) -> bool:
    """Whether a process is there, and not only to be waited for."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_fork_server_that_is_told_to_end_ends_no_worker() -> None:
    """SIGTERM of a launcher reaches it, too; without it nobody would know how workers are."""
    env = make(1)
    env.reset(seed=0, options={"tasks": TASKS})
    server = forkserver._forkserver._forkserver_pid  # pyright: ignore[reportAttributeAccessIssue]
    os.kill(server, signal.SIGTERM)
    time.sleep(0.1)
    assert runs(server)
    assert len(multiprocessing.active_children()) == 1
    env.close()
