"""Worker processes: each steps a contiguous block of environments; arrays are shared memory, pipes carry the commands.

What an environment shows does not depend on the process it is in: seeds and tasks come from the caller. A worker that
raises, dies or does not answer in time ends all of them, in one `WorkerError` with the traceback of its code.
"""

import contextlib
import faulthandler
import itertools
import math
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from metarl.envs.adapters.block import Block, ContractError, Notes, Slots, joined, made
from metarl.rl.environments import WorkerError

START_SECONDS = 120.0  # that processes may take to import what they need and to make their environments, at least
CLOSE_SECONDS = 5.0  # that environments may take to close


class Shared(NamedTuple):
    """One array in memory that processes share."""

    memory: Any  # ctypes' array of bytes
    shape: tuple[int, ...]
    dtype: np.dtype

    def view(self) -> np.ndarray:
        """The array itself."""
        return np.frombuffer(self.memory, self.dtype, math.prod(self.shape)).reshape(self.shape)


class Worker(NamedTuple):
    """A process and what is known of it."""

    process: BaseProcess
    pipe: Connection
    first: int  # of its environments
    end: int
    last_words: Path  # where its interpreter writes a traceback when it crashes, or is asked for one


class Workers:
    """Environments in worker processes, behind the interface of `Block`.

    Args:
        make_env: makes one environment; it is pickled.
        slots: the arrays; `slots` of this object are the same in shared memory.
        workers: processes, at least 1.
        patience: seconds that one command may take, such as a timestep of every environment of a block.

    Raises:
        ValueError: `make_env` cannot be pickled.
        WorkerError: a worker could not make its environments.
    """

    def __init__(self, make_env: Callable[[], gymnasium.Env], slots: Slots, *, workers: int, patience: float) -> None:
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
        self.slots = Slots(*(one.view() for one in shared))
        self._patience = patience
        self._team: list[Worker] = []
        folder = tempfile.TemporaryDirectory(prefix="metarl-workers-")
        # also where nobody closes them: when they are forgotten, and when Python ends
        self._closed = weakref.finalize(self, _end, self._team, folder)
        n = len(slots.rewards)
        ends = np.linspace(0, n, workers + 1).astype(int).tolist()
        for first, end in itertools.pairwise(ends):
            ours, theirs = context.Pipe()
            words = Path(folder.name) / str(first)
            arguments = (theirs, make_env, shared, first, end, str(words))
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is seen as the end of its pipe
            self._team.append(Worker(process, ours, first, end, words))
        with self._ended_by_errors():
            deadline = time.monotonic() + max(START_SECONDS, patience)
            for worker in self._team:
                self._answer(worker, "be made", deadline)

    def reset(self, which: Sequence[int], seeds: Sequence[int | None]) -> Notes:
        """Start episodes; see `Crew.reset`."""
        pairs = list(zip(which, seeds, strict=True))
        shares = [[(i - one.first, seed) for i, seed in pairs if one.first <= i < one.end] for one in self._team]
        arguments = [([i for i, _ in share], [seed for _, seed in share]) for share in shares]
        return joined(self._answers("reset", arguments))

    def step(self, which: Sequence[int]) -> Notes:
        """Step; see `Crew.step`."""
        shares = [[i - one.first for i in which if one.first <= i < one.end] for one in self._team]
        return joined(self._answers("step", [(share,) for share in shares]))

    def render(self) -> list[Any]:
        """What each environment draws."""
        return [picture for pictures in self._answers("render", [()] * len(self._team)) for picture in pictures]

    def close(self) -> None:
        """Close the environments and end the processes."""
        self._closed()

    def _answers(self, command: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Have every worker do something, at the same time, and wait for all."""
        if not self._closed.alive:
            raise ValueError("these environments are closed")
        with self._ended_by_errors():
            for worker, given in zip(self._team, arguments, strict=True):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: `_answer` says how
                    worker.pipe.send((command, given))
            deadline = time.monotonic() + self._patience
            return [self._answer(worker, command, deadline) for worker in self._team]

    @contextlib.contextmanager
    def _ended_by_errors(self) -> Any:
        """End the processes where anything goes wrong in this block, Ctrl-C included: they are out of step then."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _answer(self, worker: Worker, command: str, deadline: float) -> Any:
        """What a worker answers. Raises WorkerError if it failed, ContractError for what an environment returned."""
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
            raise WorkerError(f"the {who} died ({how}), asked to {command}", _last_words(worker)) from None
        if failure == "contract":
            raise ContractError(result)
        if failure == "error":
            raise WorkerError(f"the {who} failed, asked to {command}: {result[0]}", result[1])
        return result


def _asked(worker: Worker) -> str:
    """Where a worker that does not answer is: its interpreter writes it down when it is asked to."""
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
    """End workers: those that answer close their environments, the others are killed."""
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
    """The life of a worker: make the environments, do what it is asked until there is nobody to ask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal: the caller ends this one
    with Path(last_words).open("w") as words:
        faulthandler.enable(words)
        if hasattr(faulthandler, "register"):
            faulthandler.register(signal.SIGUSR1, words)
        slots = Slots(*(one.view() for one in shared)).rows(first, end)
        block: Block | None = None

        def make() -> None:
            nonlocal block
            block = Block(made(make_env, end - first), slots)

        command, arguments = make, ()
        try:
            while _tell(pipe, command, arguments):
                if block is None or (asked := pipe.recv()) is None:
                    break
                command, arguments = getattr(block, asked[0]), asked[1]
        except (EOFError, OSError):
            pass  # the caller is gone
        finally:
            if block is not None:
                block.close()


def _tell(pipe: Connection, command: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    """Do something, and tell the caller the result or what went wrong; whether it went well."""
    try:
        answer = (None, command(*arguments))
    except ContractError as error:
        answer = ("contract", str(error))
    except BaseException as error:
        words = traceback.format_exception_only(error)[-1].strip()
        answer = ("error", (words, traceback.format_exc()))
    pipe.send(answer)
    return answer[0] is None
