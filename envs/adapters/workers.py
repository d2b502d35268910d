"""Worker processes, each of which steps a contiguous block of environments. Arrays are shared, commands go by pipes.

Seeds and tasks come from the caller, so that an environment does the same in any process. A worker that raises, dies or
does not answer in time ends all workers, with a `WorkerError` that has the traceback of the environment's code.
"""

import atexit
import contextlib
import faulthandler
import itertools
import math
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import tempfile
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from metarl.arguments import require_room, require_seconds
from metarl.envs.adapters.block import Block, ContractError, Notes, Slots, joined, make_environments
from metarl.rl.environments import WorkerError

START_SECONDS = 120.0  # that processes may take to import what they need and to make their environments, at least
PATIENCE = 60.0  # seconds that one command may take, where nobody says another number
SIGNALS = (signal.SIGINT, signal.SIGTERM)  # that reach every process of a terminal or of a launcher
CLOSE_SECONDS = 5.0  # that environments may take to close
PROCESS_BYTES = 20 * 2**20  # that a worker process takes for itself at least, without its environments


UNBEGUN = (  # what is wrong where a process ends before it could do anything, with the traceback that Python prints
    ": it could not begin, as it has printed. What makes environments must be in a module that it can import, which a "
    'notebook is not, and a program must start processes below `if __name__ == "__main__":` alone'
)


class Shared(NamedTuple):
    """An array in memory that processes share."""

    memory: Any  # ctypes' array of bytes
    shape: tuple[int, ...]
    dtype: np.dtype

    def view(self) -> np.ndarray:
        """The array."""
        return np.frombuffer(self.memory, self.dtype, math.prod(self.shape)).reshape(self.shape)


class Worker(NamedTuple):
    """A worker process, and the range of its environments."""

    process: BaseProcess
    pipe: Connection
    first: int
    end: int
    last_words: Path  # file to which its interpreter writes a traceback when it crashes, or is asked for one


class Workers:
    """Environments in worker processes, behind the interface of `Block`.

    Args:
        make_env: makes one environment; it is pickled.
        slots: arrays of the sizes wanted; the attribute `slots` has their like in shared memory.
        workers: processes, at least 1.
        patience: seconds that one command may take, such as a timestep of every environment of a block.

    Raises:
        ValueError: `make_env` cannot be pickled, `patience` is no number of seconds, or there is no room for so many
            processes.
        WorkerError: a worker could not make its environments.
    """

    def __init__(self, make_env: Callable[[], gymnasium.Env], slots: Slots, *, workers: int, patience: float) -> None:
        require_seconds(worker_timeout=patience)
        require_room(workers * PROCESS_BYTES, f"workers {workers}: so many processes")
        try:
            pickle.dumps(make_env)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"these environments cannot be made in worker processes, because what makes them cannot be pickled "
                f"({error}): give a function or class of a module, or a registered id, or choose workers 0"
            ) from error
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        shared = [Shared(context.RawArray("b", max(1, a.nbytes)), a.shape, a.dtype) for a in slots]
        self.slots = Slots(*(array.view() for array in shared))
        self._patience = patience
        self._team: list[Worker] = []
        folder = tempfile.TemporaryDirectory(prefix="metarl-workers-")
        # The workers also end if nobody closes them: when this object is forgotten, and when Python ends. What is
        # registered last is called first: multiprocessing would wait for workers, which do not mind its SIGTERM.
        self._closed = weakref.finalize(self, _end, self._team, folder)
        atexit.register(self._closed)
        n = len(slots.rewards)
        ends = np.linspace(0, n, workers + 1).astype(int).tolist()
        for first, end in itertools.pairwise(ends):
            ours, theirs = context.Pipe()
            words = Path(folder.name) / str(first)
            arguments = (theirs, make_env, shared, first, end, str(words))
            # No daemons, which Python forbids to start processes, as some simulators do.
            process = context.Process(target=_work, args=arguments, daemon=False)
            with _signals_blocked():
                process.start()
            # With this end closed, the end of the process shows as the end of its pipe.
            theirs.close()
            self._team.append(Worker(process, ours, first, end, words))
        with self._ended_by_errors():
            deadline = time.monotonic() + max(START_SECONDS, patience)
            for worker in self._team:
                self._answer(worker, "be made", deadline)

    def reset(self, which: Sequence[int], seeds: Sequence[int | None]) -> Notes:
        """Start episodes; see `EnvironmentGroup.reset`."""
        pairs = list(zip(which, seeds, strict=True))
        shares = [[(i - w.first, seed) for i, seed in pairs if w.first <= i < w.end] for w in self._team]
        arguments = [([i for i, _ in share], [seed for _, seed in share]) for share in shares]
        return joined(self._answers("reset", arguments))

    def step(self, which: Sequence[int]) -> Notes:
        """Step; see `EnvironmentGroup.step`."""
        shares = [[i - worker.first for i in which if worker.first <= i < worker.end] for worker in self._team]
        return joined(self._answers("step", [(share,) for share in shares]))

    def render(self) -> list[Any]:
        """The picture that each environment draws."""
        return [picture for pictures in self._answers("render", [()] * len(self._team)) for picture in pictures]

    def close(self) -> None:
        """Close the environments and end the processes."""
        self._closed()
        atexit.unregister(self._closed)

    def _answers(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Let all workers carry out a command at the same time, and wait for their answers."""
        if not self._closed.alive:
            raise ValueError("these environments are closed")
        with self._ended_by_errors():
            for worker, given in zip(self._team, arguments, strict=True):
                # Of a worker that has died, `_answer` says how.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    worker.pipe.send((command, given))
            deadline = time.monotonic() + self._patience
            return [self._answer(worker, command, deadline) for worker in self._team]

    @contextlib.contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        """End the workers if the block raises anything, Ctrl-C included."""
        # Their answers would no longer belong to the next commands.
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _answer(self, worker: Worker, command: str, deadline: float) -> Any:
        """Wait for a worker's answer. Raises WorkerError if it failed, ContractError if an environment broke a rule."""
        who = f"worker process of environments {worker.first} to {worker.end - 1}"
        try:
            if not worker.pipe.poll(max(0.0, deadline - time.monotonic())):
                seconds = max(self._patience, START_SECONDS) if command == "be made" else self._patience
                where = _asked(worker)
                worker.process.kill()
                raise WorkerError(f"the {who} did not answer within {seconds:g} s (to {command})", where)
            failure, result = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join(CLOSE_SECONDS)
            code = worker.process.exitcode
            how = signal.strsignal(-code) if code is not None and code < 0 else f"exit status {code}"
            advice = UNBEGUN if (command, code) == ("be made", 1) else ""
            raise WorkerError(f"the {who} died ({how}), asked to {command}{advice}", _last_words(worker)) from None
        if failure == "contract":
            raise ContractError(result)
        if failure == "error":
            raise WorkerError(f"the {who} failed, asked to {command}: {result[0]}", result[1])
        return result


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals in the processes that this block starts, until each of them has set its handlers."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would end the block: it sets the mask anew when it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _asked(worker: Worker) -> str:
    """The traceback of a worker that does not answer, which its interpreter writes to a file when it is asked to."""
    if hasattr(signal, "SIGUSR1") and worker.process.pid is not None and worker.process.is_alive():
        os.kill(worker.process.pid, signal.SIGUSR1)
        for _ in range(20):
            time.sleep(0.05)
            if words := _last_words(worker):
                return words
    return ""


def _last_words(worker: Worker) -> str:
    try:
        return worker.last_words.read_text()
    except OSError:
        return ""


def _end(team: list[Worker], folder: tempfile.TemporaryDirectory) -> None:
    """End workers: those that answer close their environments, and others are killed."""
    for worker in team:
        with contextlib.suppress(OSError):
            worker.pipe.send(None)
    deadline = time.monotonic() + CLOSE_SECONDS
    for worker in team:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
    folder.cleanup()


def _work(
    pipe: Connection,
    make_env: Callable[[], gymnasium.Env],
    shared: Sequence[Shared],
    first: int,
    end: int,
    last_words: str,
) -> None:
    """Run a worker: make the environments, then carry out commands until there is no caller."""
    _outlive_signals()
    with Path(last_words).open("w") as words:
        faulthandler.enable(words)
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, words)
        slots = Slots(*(array.view() for array in shared)).rows(first, end)
        block: Block | None = None

        def make() -> None:
            nonlocal block
            block = Block(make_environments(make_env, end - first), slots)

        command, arguments = make, ()
        try:
            while _tell(pipe, command, arguments):
                if block is None or (asked := pipe.recv()) is None:
                    break
                command, arguments = getattr(block, asked[0]), asked[1]
        except (EOFError, OSError):
            # The caller is gone.
            pass
        finally:
            if block is not None:
                block.close()


def _outlive_signals() -> None:
    """End with the caller, and not before its signals: it may want to finish its iteration.

    Signals get a handler that does nothing. Ignored, they would stay ignored in the simulators that an environment
    starts, which could then not be ended.
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `_signals_blocked`
    caller = multiprocessing.parent_process()
    assert caller is not None  # this is a child

    def end() -> None:
        multiprocessing.connection.wait([caller.sentinel])
        time.sleep(CLOSE_SECONDS)  # for environments to be closed, as the end of the pipe asks for
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _tell(pipe: Connection, command: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    """Carry out a command, and send the caller the result or the error; return whether it succeeded."""
    try:
        answer = (None, command(*arguments))
    except ContractError as error:
        answer = ("contract", str(error))
    except BaseException as error:
        words = traceback.format_exception_only(error)[-1].strip()[:500]
        answer = ("error", (words, traceback.format_exc()))
    pipe.send(answer)
    return answer[0] is None
