"""SIGTERM and SIGINT as wishes to stop: training finishes the present iteration if that does not take too long."""

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM, Signals
from types import FrameType

from metarl.files import DISK

EXIT_STATUS = {SIGTERM: 143, SIGINT: 130}  # 128 + the signal's number, as shells have it
GRACE = 60.0  # seconds that an iteration may go on
DEAF = 5.0  # seconds for Python to act when the grace is over, before the process is ended without it


class StoppedError(Exception):
    """Training stopped because a signal asked for it; everything is on disk."""

    def __init__(self, number: Signals, iteration: int, failure: str = "") -> None:
        lost = f" (the one in hand failed after the signal: {failure})" if failure else ""
        super().__init__(f"stopped by {number.name} after {iteration} iterations{lost}")
        self.exit_status = EXIT_STATUS[number]


class OverdueError(BaseException):
    """The seconds of grace are over; raised in the middle of what the iteration does.

    It derives from BaseException, as KeyboardInterrupt does, so that an environment or a model that goes on after its
    own errors does not catch it.
    """


class Wish:
    """What signals asked for during training: nothing yet, or to stop."""

    signal: Signals | None = None
    overdue: bool = False
    done: int = 0  # iterations that are done, which the training loop keeps up to date


@contextmanager
def wishes(announce: Callable[[str], None], grace: float = GRACE) -> Iterator[Wish]:
    """Note SIGTERM and SIGINT instead of ending at once; a second SIGINT ends the block at once (KeyboardInterrupt).

    A second SIGTERM is ignored, because launchers send one to a process and one to its group. If the block still runs
    `grace` seconds after the first signal, it is left by StoppedError. If even that does not work, because foreign code
    does not return to Python, the process ends with the signal's exit status. An error after a signal also becomes a
    StoppedError, which names it, because the signal may have ended what the iteration needs; a full disk's does not.

    Args:
        announce: shows the user a sentence.
        grace: seconds from the first signal on.
    """
    wish = Wish()
    timers = list[threading.Timer]()

    def note(number: int, _: FrameType | None) -> None:
        if wish.overdue:
            raise OverdueError
        if wish.signal is not None:
            if number == SIGINT:
                raise KeyboardInterrupt
            return
        wish.signal = Signals(number)
        timers.extend(_deadline(wish, wish.signal, grace))
        announce(
            f"{wish.signal.name}: finishing the iteration, for {grace:g} seconds at most; "
            "Ctrl-C, once more, stops at once"
        )

    # Only the main thread may handle signals.
    if threading.current_thread() is not threading.main_thread():
        yield wish
        return
    before = {number: signal.signal(number, note) for number in EXIT_STATUS}
    try:
        yield wish
    except OverdueError:
        raise StoppedError(wish.signal or SIGTERM, wish.done) from None
    except Exception as error:  # a signal may break an iteration by any error; without a signal it is raised again
        # A disk that does not take what is written is no consequence of a signal.
        of_disk = isinstance(error, OSError) and error.errno in DISK
        if wish.signal is None or of_disk or isinstance(error, StoppedError):
            raise
        # The signal may have reached what the iteration needs as well: a compiler, or a simulator of its own.
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoppedError(wish.signal, wish.done, words[:200]) from error
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def no_exit(what: str) -> Iterator[None]:
    """Turn `sys.exit` in this block into an error, because it would end `what` as if all were well.

    Raises:
        RuntimeError: something called `sys.exit`.
    """
    try:
        yield
    except SystemExit as error:
        raise RuntimeError(
            f"{what} stopped, for something called sys.exit({error.code!r}): an environment, a model or a callback "
            "must not end the process"
        ) from error


def _deadline(wish: Wish, number: Signals, grace: float) -> list[threading.Timer]:
    """Start timers that interrupt the main thread after `grace` seconds, and end the process `DEAF` seconds later."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        wish.overdue = True
        if hasattr(signal, "pthread_kill"):
            # A signal wakes the thread even from sleeping.
            signal.pthread_kill(main, number)
        else:  # Windows
            _thread.interrupt_main(number)

    timers = [threading.Timer(grace, interrupt), threading.Timer(grace + DEAF, os._exit, (EXIT_STATUS[number],))]
    for timer in timers:
        timer.daemon = True
        timer.start()
    return timers
