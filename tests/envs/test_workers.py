"""Environments in worker processes: the same numbers as in this one, and one clear error for what goes wrong there."""

import functools
import multiprocessing
import time
from typing import Any

import gymnasium
import numpy as np
import pytest
import slow

from metarl.envs import LoopVectorEnv, WorkerError
from metarl.envs.adapters.block import ContractError

N = 5
TASKS = np.array([[5.0], [6.0], [9.0], [10.0], [15.0]])


def make(workers: int, how: str = "nothing", timeout: float = 60.0) -> LoopVectorEnv:
    return LoopVectorEnv(functools.partial(slow.Trouble, how), N, workers=workers, worker_timeout=timeout)


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
    env = make(2)
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
        env._crew.step([0])


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
    for workers in (0, 1):
        env = make(workers, "misshapen")
        env.reset(seed=0, options={"tasks": TASKS})
        with pytest.raises(ContractError, match=r"observations must be of Box\(.*\); got float64 \(4,\)"):
            env.step(np.zeros((N, 1)))


def test_what_cannot_be_made_there() -> None:
    with pytest.raises(ValueError, match=r"cannot be pickled .*: give a function or class of a module"):
        LoopVectorEnv(lambda: gymnasium.make("GravityPendulum-v0"), 2, workers=1)
    with pytest.raises(ValueError, match="workers must be at least 0; got -1"):
        make(-1)


def test_one_environment_needs_no_process() -> None:
    before = multiprocessing.active_children()
    env = LoopVectorEnv(functools.partial(slow.Trouble, "nothing"), 1, workers=4)
    assert multiprocessing.active_children() == before
    env.close()
