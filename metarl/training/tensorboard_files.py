"""TensorBoard's event files, and what TensorBoard shows of a run beside metrics: options, charts, an evaluation."""

import io
import os
import socket
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.extras import needs
from metarl.files import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

with needs("tensorboard", "event files"):
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.plugins.hparams.plugin_data_pb2 import (
        HParamsPluginData,  # pyright: ignore[reportAttributeAccessIssue]
    )
    from tensorboard.summary.writer.record_writer import RecordWriter
    from torch.utils.tensorboard.summary import hparams, scalar, text

NAME = "events.out.tfevents."
FOLDER = "evaluation"  # in a run directory: to TensorBoard a second run, whose x-axis is the gradient step
Option = str | int | float


class EventFile:
    """A new event file in a directory, which TensorBoard reads after the files that are there already.

    TensorBoard goes through the files of a directory in the order of the times in their names, and never back. A file
    from a clock that was set back would be hidden, so that a new file's time is always later than those of the others.

    Args:
        directory: the directory, which is made if it is missing.
        purge: tell TensorBoard to forget what earlier files say of this step and later ones; None: it forgets nothing.
    """

    def __init__(self, directory: Path, purge: int | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        newest = max((_stamp(path) for path in directory.glob(f"{NAME}*")), default=-1)
        stamp = max(int(time.time()), newest + 1)
        self._time = float(stamp)
        self.path = directory / f"{NAME}{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
        with writing(self.path):
            self._records = RecordWriter(self.path.open("wb"))
        self._write(Event(file_version="brain.Event:2"))
        if purge is not None:
            self._write(Event(step=purge, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, *summaries: Any) -> None:
        """Write summaries of a step. Raises OSError, which names the file, if they cannot be written."""
        for summary in summaries:
            self._write(Event(step=step, summary=summary))
        with writing(self.path):
            self._records.flush()

    def close(self) -> None:
        """Close the file."""
        with writing(self.path):
            self._records.close()

    def _write(self, event: Any) -> None:
        self._time = max(self._time, time.time())
        event.wall_time = self._time
        with writing(self.path):
            self._records.write(event.SerializeToString())


def _stamp(path: Path) -> int:
    """The time in an event file's name; -1 where there is none."""
    digits = path.name.removeprefix(NAME).split(".")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def picture(tag: str, encoded: bytes, height: int, width: int) -> Any:
    """A summary that shows a PNG or a GIF."""
    image = Summary.Image(encoded_image_string=encoded, height=height, width=width, colorspace=3)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def option_table(options: Mapping[str, Option]) -> Any:
    """A summary that lists options as text."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in options.items())
    return text("configuration", f"| option | value |\n| --- | --- |\n{rows}")


def hyperparameters(
    options: Mapping[str, Option], distinguishing: Sequence[str], metrics: Sequence[str], held_out: Sequence[str]
) -> Sequence[Any]:
    """Summaries for TensorBoard's table of hyperparameters: the experiment, this run's start, and its end.

    Args:
        options: the columns.
        distinguishing: names of the options by which runs are told apart, which TensorBoard shows first.
        metrics: tags of the run's scalars, whose last values are shown.
        held_out: names of scores, whose means on held-out tasks (see `write_adaptation`) are shown before those.
    """
    tags = [_held_out(score) for score in held_out]
    experiment, start, end = hparams(dict(options), dict.fromkeys([*tags, *metrics], 0.0))
    metadata = experiment.value[0].metadata.plugin_data
    content = HParamsPluginData.FromString(metadata.content)
    for info in content.experiment.hparam_infos:
        # TensorBoard sorts by this first, then by name.
        info.differs = info.name in distinguishing
    for info in content.experiment.metric_infos:
        if info.name.tag in tags:
            # The folder of the run directory that has the scalar.
            info.name.group = FOLDER
    metadata.content = content.SerializeToString()
    return experiment, start, end


def write_adaptation(
    run_dir: Path,
    score: str,
    steps: Sequence[dict[str, Any]],
    figure: "Figure",
    options: Mapping[str, Option],
    distinguishing: Sequence[str],
) -> None:
    """Write an evaluation's scores over gradient steps, and its figure, replacing those of an earlier evaluation.

    They go to a folder of their own, because TensorBoard follows only the newest event file of a directory. Where that
    is a link out of the run directory nothing is written, with a warning: earlier events would be removed there.

    Args:
        run_dir: the run directory.
        score: name of the score.
        steps: the summaries that `write_evaluation` returns.
        figure: a figure of this run alone.
        options: the options with which the run was trained and evaluated.
        distinguishing: names of the options by which runs are told apart.
    """
    place = run_dir / FOLDER
    if place.exists() and not place.resolve().is_relative_to(run_dir.resolve()):
        warnings.warn(
            f"TensorBoard does not show this evaluation: {place} is a link out of the run directory, where nothing is "
            "removed for it",
            stacklevel=2,
        )
        return
    # A method that trains nothing has no event file yet, and no row in the table of hyperparameters.
    if not list(run_dir.glob(f"{NAME}*")):
        row = EventFile(run_dir)
        row.add(0, *hyperparameters(options, distinguishing, [], [score]))
        row.close()
    for earlier in place.glob(f"{NAME}*"):
        earlier.unlink()
    file = EventFile(place)
    for summary in steps:
        for name in ("mean", "interquartile_mean", "median"):
            file.add(summary["gradient_steps"], scalar(f"{_family(score)}/{name}", summary[score][name]))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=100)
    width, height = (round(inches * 100) for inches in figure.get_size_inches())
    file.add(0, picture("held-out tasks", image.getvalue(), height, width), option_table(options))
    file.close()


def _family(score: str) -> str:
    return f"held-out tasks/{score}"


def _held_out(score: str) -> str:
    return f"{_family(score)}/mean"
