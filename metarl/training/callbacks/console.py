"""The progress of a training on the console: a live bar in a terminal, a plain line at intervals elsewhere."""

import time
from collections.abc import Callable, Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from metarl.metrics import MetricTable, number
from metarl.problem import Metrics
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.state import TrainState


class ConsoleProgress(Callback):
    """Show how far the training is, the latest headline metrics, how many outer steps were refused, and the stage.

    Args:
        console: the console.
        every: seconds between two lines, where the console is no terminal.
        clock: tells the time in seconds, from any start.
    """

    def __init__(self, console: Console, every: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._every = every
        self._clock = clock
        self._bar: _Bar | None = None
        self._training: Training | None = None
        self._scores: dict[str, str] = {}
        self._text = ""  # the last plain line
        self._alarms: list[str] = []
        self._steps = self._refused = self._first = self._done = 0
        self._began = self._printed = 0.0

    def start(self, training: Training, state: TrainState) -> None:
        """Draw the bar, or note the time."""
        self._training = training
        self._first = state.iteration
        self._done = state.iteration
        self._began = self._clock()
        self._printed = -self._every
        if self._console.is_terminal:
            self._bar = _Bar(self._console, training.iterations, state.iteration)
            self._bar.start()

    def stage(self, words: str) -> None:
        """Show the stage on the line below the bar; without a terminal, only when a line is due."""
        self._show(words)

    def announce(self, words: str) -> None:
        """Print a sentence on a line of its own."""
        self._console.print(words, highlight=False)

    def iteration(self, moment: Moment) -> None:
        """Show the new metrics."""
        assert self._training is not None
        self._steps += moment.stepped
        self._refused += moment.stepped and moment.refused
        self._scores |= curves(moment.metrics, self._training.measures)
        self._alarms = alarms(moment.metrics, self._training.measures) if moment.metrics else self._alarms
        self._done = moment.after.iteration
        self._show("", always=moment.last)

    def close(self, error: BaseException | None) -> None:
        """Leave the bar as it was last."""
        if self._bar is not None:
            self._bar.stop()

    def _show(self, stage: str, *, always: bool = False) -> None:
        assert self._training is not None
        refused = f"{self._refused} of {self._steps} steps refused" if self._refused else ""
        words = "; ".join(filter(None, (*self._scores.values(), refused, *self._alarms, stage)))
        if self._bar is not None:
            self._bar.show(self._done, words)
        elif always or self._clock() - self._printed >= self._every:
            self._printed = self._clock()
            times = self._times()
            text = f"iteration {self._done} of {self._training.iterations}{times}{': ' if words else ''}{words}"
            # After the last iteration this is called once more, with what the line before may have said.
            if text != self._text:
                self._console.print(text, highlight=False, soft_wrap=True)
            self._text = text

    def _times(self) -> str:
        """The time that has passed, and is left at this pace, in words; nothing before the first iteration is done."""
        done = self._done - self._first
        left = self._training.iterations - self._done if self._training else 0
        if done == 0:
            return ""
        seconds = self._clock() - self._began
        return f", {_duration(seconds)}" + (f", {_duration(seconds / done * left)} left" if left else "")


def curves(metrics: Metrics, measures: MetricTable) -> dict[str, str]:
    """Name of each headline metric among `metrics` -> its values after 0, 1 .. gradient steps, in words."""
    found = {}
    for metric in measures.headlines:
        if values := metric.steps(metrics):
            where = "validation " if metric.score else ""
            found[metric.name] = f"{where}{metric.word} {' -> '.join(_some(list(map(number, values.values()))))}"
    return found


def _some(words: list[str]) -> list[str]:
    """The first two and the last of more than five words, so that they fit a terminal."""
    return words if len(words) <= 5 else [*words[:2], "..", words[-1]]


def alarms(metrics: Metrics, measures: MetricTable) -> list[str]:
    """The shares among `metrics` that should be 0 and are not, in words."""
    return [
        f"{share:.1%} {metric.alarm}" for metric in measures if metric.alarm and (share := metrics.get(metric.name))
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Bar(Progress):
    """A bar and a line of words below it, so that 80 columns are enough for both."""

    def __init__(self, console: Console, iterations: int, done: int) -> None:
        self._words = ""
        super().__init__(
            SpinnerColumn(),
            TextColumn("meta-training"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self.add_task("meta-training", total=iterations, completed=done)

    def show(self, done: int, words: str) -> None:
        self._words = words
        self.update(self._task, completed=done)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._words:
            yield Padding(Text(self._words, overflow="fold"), (0, 0, 0, 2))
