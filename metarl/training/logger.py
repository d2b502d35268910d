"""Where the numbers go: TensorBoard, metrics.csv and the console, under the same stable names."""

import csv
import io
import os
import warnings
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  # generated
from torch.utils.tensorboard import SummaryWriter

from metarl.files import write_atomically, writing
from metarl.problem import Film, Metrics
from metarl.training.config import Config
from metarl.training.events import describe
from metarl.training.pictures import gif, side_by_side
from metarl.training.run_directory import METRICS

FILM_HEIGHT = 240  # pixels, in TensorBoard


class Logger:
    """One row per iteration in metrics.csv, one TensorBoard scalar per metric, a live progress bar.

    A resumed run continues where its checkpoint stood: later rows and events are dropped.

    Args:
        run_dir: the run directory.
        config: of the run, which TensorBoard shows, too.
        start: iterations already done.
        console: where the bar is drawn.
    """

    def __init__(self, run_dir: Path, config: Config, start: int, console: Console) -> None:
        self._csv, self._iterations = run_dir / METRICS, config.outer_steps
        rows = [row for row in read_metrics(self._csv) if row["iteration"] < start]
        last = int(rows[-1]["iteration"]) if rows else -1
        if last < start - config.log_every:
            warnings.warn(
                f"{self._csv} has lost what follows iteration {last}: the run goes on from {start}", stacklevel=2
            )
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        self._rewrite(rows)
        self._tensorboard = SummaryWriter(str(run_dir), purge_step=start)
        describe(self._tensorboard, config, start)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
        )
        self._bar = self._progress.add_task("meta-training", total=self._iterations, completed=start, status="")

    def __enter__(self) -> "Logger":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
        self._tensorboard.close()

    def log(self, iteration: int, metrics: Metrics, status: str) -> None:
        """Write one iteration's metrics everywhere; `status` is the text beside the bar."""
        row = {"iteration": float(iteration), **metrics}
        if new := [name for name in row if name not in self._columns]:
            rows = read_metrics(self._csv)
            self._columns += new
            self._rewrite([*rows, row])
        else:
            with writing(self._csv), self._csv.open("a", newline="") as file:
                csv.DictWriter(file, self._columns, lineterminator="\n").writerow(_cells(row))
                file.flush()
                os.fsync(file.fileno())  # before the checkpoint that counts it
        with writing(Path(self._tensorboard.log_dir) / "events.out.tfevents"):
            for name, value in metrics.items():
                self._tensorboard.add_scalar(name, value, iteration)
            self._tensorboard.flush()
        self._progress.update(self._bar, completed=min(iteration + 1, self._iterations), status=status)

    def show(self, iteration: int, films: list[Film]) -> None:
        """Put films side by side among TensorBoard's images, moving, as `adaptation`."""
        frames = side_by_side(films, height=FILM_HEIGHT)
        image = Summary.Image(encoded_image_string=gif(frames, films[0].frames_per_second))
        image.height, image.width, image.colorspace = *frames.shape[1:3], 3
        writer = self._tensorboard.file_writer
        assert writer is not None  # until it is closed
        writer.add_summary(Summary(value=[Summary.Value(tag="adaptation", image=image)]), iteration)

    def _rewrite(self, rows: list[Metrics]) -> None:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_cells(row) for row in rows)
        write_atomically(self._csv, buffer.getvalue().encode())


def read_metrics(path: Path) -> list[Metrics]:
    """The rows of a metrics.csv, without the cells that were not measured in an iteration; [] if there is no file.

    A last line that was never ended, by a process that was killed, does not count.

    Raises:
        ValueError: something else than numbers.
    """
    if not path.is_file():
        return []
    try:
        lines = path.read_text().splitlines(keepends=True)
        whole = csv.DictReader(line for line in lines if line.endswith("\n"))
        rows = [{name: float(cell) for name, cell in row.items() if cell} for row in whole]
        if not all("iteration" in row for row in rows):
            raise ValueError("a row has no iteration")
        return rows
    except (ValueError, TypeError, csv.Error) as error:  # UnicodeDecodeError is a ValueError; more cells than columns
        raise ValueError(f"{path} is damaged: {error}") from error


def _cells(row: Metrics) -> dict[str, str]:
    """Numbers as text that reads back bitwise the same; whole numbers without a fraction."""
    return {name: str(int(value)) if float(value).is_integer() else repr(float(value)) for name, value in row.items()}
