"""TensorBoard: every metric as a scalar, the headline ones first; options, charts, hyperparameters, films."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard.summary import custom_scalars, scalar, text

from metarl.metrics import MetricTable
from metarl.problem import Film, Metrics
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.film_frames import gif, side_by_side
from metarl.training.run_directory import command_line
from metarl.training.state import TrainState
from metarl.training.tensorboard_files import EventFile, Option, hyperparameters, option_table, picture

FILM_HEIGHT = 240  # pixels
FIRST = "Learning"  # group of the headline metrics; TensorBoard sorts groups by name, capitals first


class TensorBoard(Callback):
    """Write event files; a resumed training drops the events of iterations that it makes again.

    Args:
        directory: the run directory.
        options: the run's options, which TensorBoard lists as text and as hyperparameters.
        distinguishing: names of the options by which runs are told apart.
    """

    def __init__(
        self, directory: Path, options: Mapping[str, Option] | None = None, distinguishing: Sequence[str] = ()
    ) -> None:
        self._directory = directory
        self._options = dict(options or {})
        self._distinguishing = distinguishing
        self._file: EventFile | None = None
        self._training: Training | None = None
        self._described = False

    def start(self, training: Training, state: TrainState) -> None:
        """Open a file, and write the command, the options, and the definitions of charts of several metrics."""
        self._training = training
        self._described = False
        self._file = EventFile(self._directory, purge=state.iteration)
        self._file.add(state.iteration, text("command", f"```\n{command_line()}\n```"))
        if self._options:
            self._file.add(state.iteration, option_table(self._options))
        charts = {_title(name): ["Multiline", [pattern]] for name, pattern in _headline_patterns(training.measures)}
        times = {"seconds": ["Multiline", ["time/(sample|adapt|outer|iteration)"]]}
        self._file.add(
            state.iteration, custom_scalars({"after each gradient step": charts, "where the time goes": times})
        )

    def iteration(self, moment: Moment) -> None:
        """Write the metrics."""
        if not moment.metrics:
            return
        assert self._file is not None and self._training is not None
        self._describe(moment.iteration, moment.metrics, self._training.measures)
        tags = {tag(name, self._training.measures): value for name, value in moment.metrics.items()}
        self._file.add(moment.iteration, *(scalar(name, value) for name, value in tags.items()))

    def show(self, iteration: int, films: list[Film]) -> None:
        """Add films, side by side, to TensorBoard's images as a moving picture named `adaptation`."""
        assert self._file is not None
        frames = side_by_side(films, height=FILM_HEIGHT)
        height, width = frames.shape[1:3]
        self._file.add(iteration, picture("adaptation", gif(frames, films[0].frames_per_second), height, width))

    def close(self, error: BaseException | None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _describe(self, iteration: int, metrics: Metrics, measures: MetricTable) -> None:
        """Write the run's row of the table of hyperparameters with its first metrics, whose names the row needs."""
        if self._described or not self._options:
            return
        assert self._file is not None
        self._described = True
        shown = [tag(name, measures) for metric in measures.headlines for name in map(metric.at, metric.steps(metrics))]
        scores = [metric.score for metric in measures.headlines if metric.score]
        self._file.add(iteration, *hyperparameters(self._options, self._distinguishing, shown, scores))


def tag(name: str, measures: MetricTable) -> str:
    """The name of a metric in TensorBoard: that of metrics.csv, for headline metrics in a group before all others.

    Of the scores of validation tasks, those before and after the first gradient step alone are headlines: ten more of
    each score would hide what follows.
    """
    metric = measures.find(name)
    if metric is None or not metric.headline:
        return name
    is_further = metric.score and max(metric.steps({name: 0.0})) > 1
    return name if is_further else f"{FIRST}/{name}"


def _headline_patterns(measures: MetricTable) -> list[tuple[str, str]]:
    return [(metric.name, f"({FIRST}/)?{metric.pattern}") for metric in measures.headlines]


def _title(name: str) -> str:
    return name.removesuffix("_step{k}")
