"""The progress line of several runs: which are being made, how far they are, what waits, and how long that may take."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from metarl.experiments.kept import Run

EVERY = 60.0  # seconds between plain lines, and between copies of what runs must not lose


@dataclass
class Active:
    """A run that is being made: what is done with it, and from which iteration and moment on."""

    run: Run
    iterations: int
    started: float
    first: int
    stage: str = "trains"

    def seconds(self, now: float, done: int) -> float | None:
        """What the whole run takes at the pace so far; None before the first iteration of this session."""
        return (now - self.started) / (done - self.first) * self.iterations if done > self.first else None


class Progress:
    """Watches runs in a thread: shows a line, and has what they must not lose copied every minute.

    On a terminal the line is alive; elsewhere it is printed every minute.

    Args:
        console: where the line goes.
        waiting: the runs that are to be made.
        jobs: how many are made at a time.
        clock: gives seconds.
    """

    def __init__(
        self, console: Console, waiting: Sequence[Run], jobs: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._clock = clock
        self._jobs = jobs
        self._waiting = list(waiting)
        self._active: dict[str, Active] = {}
        self._done = 0
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)  # of whole runs, by experiment
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @contextmanager
    def making(self, run: Run, iterations: int) -> Iterator[Active]:
        """While a run is trained and evaluated."""
        active = Active(run, iterations, self._clock(), run.iterations_done)
        with self._lock:
            self._waiting = [one for one in self._waiting if one.name != run.name]
            self._active[run.name] = active
        try:
            yield active
        finally:
            with self._lock:
                del self._active[run.name]
        with self._lock:
            self._done += 1
            if seconds := active.seconds(self._clock(), run.iterations_done):
                self._seconds[run.experiment].append(seconds)

    def line(self) -> str:
        """What is made, what is done and waits, and the time that is left as far as it can be told."""
        with self._lock:
            now = self._clock()
            pace = defaultdict(list, {name: list(ones) for name, ones in self._seconds.items()})
            words = []
            left = 0.0
            for active in self._active.values():
                done = min(active.run.iterations_done, active.iterations)
                words.append(f"{active.run.name} {active.stage}, iteration {done} of {active.iterations}")
                if seconds := active.seconds(now, done):
                    pace[active.run.experiment].append(seconds)
                    left += seconds * (1 - done / active.iterations)
            known = [pace[one.experiment] for one in self._waiting if pace.get(one.experiment)]
            left += sum(sum(ones) / len(ones) for ones in known)
            unknown = len(self._waiting) - len(known)
            counts = f"{self._done} done, {len(self._waiting)} waiting"
        if left:
            counts += f", about {_duration(left / min(self._jobs, max(1, len(self._waiting) + len(words))))} left"
            counts += f" without {unknown} not timed yet" * (unknown > 0)
        return "; ".join([*words, counts])

    def _watch(self) -> None:
        last = self._clock()
        terminal = self._console.is_terminal
        with Live(console=self._console, auto_refresh=False, transient=True) if terminal else nullcontext() as live:
            while not self._stop.wait(1.0):
                if live:
                    live.update(Text(self.line(), overflow="ellipsis", no_wrap=True), refresh=True)
                if self._clock() - last >= EVERY:
                    last = self._clock()
                    if not terminal:
                        self._console.print(self.line())
                    self._keep()

    def _keep(self) -> None:
        with self._lock:
            runs = [active.run for active in self._active.values()]
        for run in runs:
            try:
                run.keep()
            except OSError as error:
                # The run itself may go on: what is kept is tried again a minute later, and when the run ends.
                self._console.print(f"warning: {error}")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
