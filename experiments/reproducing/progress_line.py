"""The progress line of several runs: those that are being made, how far they are, those that wait, the time left."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.text import Text

from metarl.experiments.reproducing.stored_runs import ExperimentRun

EVERY = 60.0  # seconds between plain lines, and between copies of what runs must not lose


@dataclass
class Active:
    """A run that is being made."""

    run: ExperimentRun
    iterations: int  # in all
    started: float  # the time at which this session began
    first: int  # iterations that were done then
    stage: str = "trains"

    def seconds(self, now: float, done: int) -> float | None:
        """Seconds that the whole run takes at this session's pace; None before the session's first iteration."""
        return (now - self.started) / (done - self.first) * self.iterations if done > self.first else None


class Progress:
    """Watch runs in a thread: show a line, and every minute copy the files that unfinished runs need to go on.

    On a terminal the line is live; elsewhere it is printed every minute.

    Args:
        console: the console.
        waiting: the runs that are to be made.
        jobs: runs that are made at a time.
        clock: tells the time in seconds.
    """

    def __init__(
        self, console: Console, waiting: Sequence[ExperimentRun], jobs: int, clock: Callable[[], float] = time.monotonic
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
    def making(self, run: ExperimentRun, iterations: int) -> Iterator[Active]:
        """Show a run as being made while the block trains and evaluates it."""
        active = Active(run, iterations, self._clock(), run.iterations_done)
        with self._lock:
            self._waiting = [other for other in self._waiting if other.name != run.name]
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
        """The runs that are being made, how many are done and wait, and the time left as far as it is known."""
        with self._lock:
            now = self._clock()
            pace = defaultdict(list, {name: list(seconds) for name, seconds in self._seconds.items()})
            words = []
            left = 0.0
            for active in self._active.values():
                done = min(active.run.iterations_done, active.iterations)
                words.append(f"{active.run.name} {active.stage}, iteration {done} of {active.iterations}")
                if seconds := active.seconds(now, done):
                    pace[active.run.experiment].append(seconds)
                    left += seconds * (1 - done / active.iterations)
            known = [pace[run.experiment] for run in self._waiting if pace.get(run.experiment)]
            left += sum(sum(seconds) / len(seconds) for seconds in known)
            unknown = len(self._waiting) - len(known)
            counts = f"{self._done} done, {len(self._waiting)} waiting"
        if left:
            counts += f", about {_duration(left / min(self._jobs, max(1, len(self._waiting) + len(words))))} left"
            if unknown:
                counts += f" without {unknown} not timed yet"
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
                # The run itself may go on; copying is tried again a minute later, and when the run ends.
                self._console.print(f"warning: {error}")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
