"""SIGTERM and SIGINT as a wish to stop: the iteration in hand is finished if that does not take too long."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM, Signals
from types import FrameType

EXIT_STATUS = {SIGTERM: 143, SIGINT: 130}  # 128 + the signal's number, as shells have it
GRACE = 60.0  # seconds
DEAF = 5.0  # seconds for Python to hear that the time is over, before the process is ended from outside


class StoppedError(Exception):
    """Training stopped because it was asked to; everything is on disk."""

    def __init__(self, number: Signals, iteration: int) -> None:
        super().__init__(f"stopped by {number.name} after {iteration} iterations")
        self.exit_status = EXIT_STATUS[number]


class OverdueError(BaseException):
    """The grace time is over: raised in the middle of whatever hangs; no `except Exception` of it catches this."""


class Wish:
    """What was asked for while training: nothing yet, or to stop."""

    signal: Signals | None = None
    overdue: bool = False
    done: int = 0  # iterations that are done: whoever trains says so


@contextmanager
def wishes(announce: Callable[[str], None], grace: float = GRACE) -> Iterator[Wish]:
    """Note SIGTERM and SIGINT instead of dying of them; a second SIGINT stops at once (KeyboardInterrupt).

    A second SIGTERM does not: launchers send it to a process and to its group. When `grace` seconds after the first
    signal the block still runs, OverdueError is raised in it, and leaves it as StoppedError; where that is not heard,
    because foreign code does not return to Python, the process ends with the signal's exit status.

    Args:
        announce: tells the user a sentence.
        grace: seconds from the first signal on.
    """
    wish, timers = Wish(), list[threading.Timer]()

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

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield wish
        return
    before = {number: signal.signal(number, note) for number in EXIT_STATUS}
    try:
        yield wish
    except OverdueError:
        raise StoppedError(wish.signal or SIGTERM, wish.done) from None
    finally:
        for timer in timers:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def no_exit(what: str) -> Iterator[None]:
    """Make an error of a wish to exit Python in this block: it would end `what` as if all were well.

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
    """Started timers that interrupt the main thread after `grace` seconds, and end the process `DEAF` seconds later."""
    main = threading.main_thread().ident
    assert main is not None  # it runs

    def interrupt() -> None:
        wish.overdue = True
        signal.pthread_kill(main, number)  # wakes it from sleeping, too

    timers = [threading.Timer(grace, interrupt), threading.Timer(grace + DEAF, os._exit, (EXIT_STATUS[number],))]
    for timer in timers:
        timer.daemon = True
        timer.start()
    return timers
