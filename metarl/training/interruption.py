"""SIGTERM and SIGINT as a wish to stop: the iteration in hand is finished, and a checkpoint written."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM, Signals
from signal import signal as handle
from types import FrameType

from rich.console import Console

EXIT_STATUS = {SIGTERM: 143, SIGINT: 130}  # 128 + the signal's number, as shells have it


class StoppedError(Exception):
    """Training stopped because it was asked to; everything is on disk."""

    def __init__(self, number: Signals, iteration: int) -> None:
        super().__init__(f"stopped by {number.name} after {iteration} iterations")
        self.exit_status = EXIT_STATUS[number]


class Wish:
    """What was asked for while training: nothing yet, or to stop."""

    signal: Signals | None = None


@contextmanager
def wishes(console: Console) -> Iterator[Wish]:
    """Note SIGTERM and SIGINT instead of dying of them; a second SIGINT stops at once (KeyboardInterrupt).

    A second SIGTERM does not: launchers send it to a process and to its group.
    """
    wish = Wish()

    def note(number: int, _: FrameType | None) -> None:
        if wish.signal is not None:
            if number == SIGINT:
                raise KeyboardInterrupt
            return
        wish.signal = Signals(number)
        console.print(
            f"{Signals(number).name}: finishing the iteration; Ctrl-C, once more, stops at once", highlight=False
        )

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield wish
        return
    before = {number: handle(number, note) for number in EXIT_STATUS}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            handle(number, handler)
