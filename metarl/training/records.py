"""What training leaves on disk while it runs: metrics, pictures and checkpoints. One rank of all writes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from metarl.files import keep_copy
from metarl.problem import Film, Metrics, Problem
from metarl.training.checkpoint import Checkpoint, save
from metarl.training.config import Config
from metarl.training.logger import Logger
from metarl.training.run_directory import BEST, LAST, PREVIOUS, restore_last, update_config


class Records:
    """What a rank writes: everything with a logger; without one, nothing."""

    def __init__(self, run_dir: Path, logger: Logger | None) -> None:
        self._run_dir, self._logger = run_dir, logger

    @property
    def writes(self) -> bool:
        """Whether what would only be shown need be made."""
        return self._logger is not None

    def log(self, iteration: int, metrics: Metrics, status: str) -> None:
        """One iteration's metrics."""
        if self._logger:
            self._logger.log(iteration, metrics, status)

    def show(self, iteration: int, films: list[Film]) -> None:
        """Films, for TensorBoard."""
        if self._logger:
            self._logger.show(iteration, films)

    def keep_best(self, problem: Problem, state: Checkpoint, metrics: Metrics) -> Checkpoint:
        """Write best.pt if the metrics of the present parameters are the best so far.

        The best score is in the checkpoint, which is the writing rank's.
        """
        score = problem.score(metrics)
        if self._logger and score is not None and score > state.best_score:
            state = state._replace(best_score=score)
            save(self._run_dir / BEST, state)
        return state

    def save(self, state: Checkpoint) -> None:
        """Write the last checkpoint; the one before it is kept, too."""
        if self._logger:
            save_last(self._run_dir, state)


def save_last(run_dir: Path, state: Checkpoint) -> None:
    """Write the last checkpoint, and keep the one that it was."""
    if (run_dir / LAST).exists():
        keep_copy(run_dir / LAST, run_dir / PREVIOUS)
    save(run_dir / LAST, state)


@contextmanager
def records(run_dir: Path, config: Config, start: int, console: Console, *, rank: int) -> Iterator[Records]:
    """What this rank writes from iteration `start` on."""
    if rank > 0:
        yield Records(run_dir, None)
        return
    with Logger(run_dir, config, start, console) as logger:
        restore_last(run_dir)  # now that all files of an earlier session could be read
        update_config(run_dir, config)
        yield Records(run_dir, logger)
