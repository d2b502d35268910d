"""Checkpoints in a run directory: the last, the one before it, the best, and those that are kept for good."""

from pathlib import Path

from metarl.files import keep_copy
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.checkpoint import save
from metarl.training.interruption import StoppedError
from metarl.training.run_directory import BEST, LAST, PREVIOUS, kept_name, restore_last, update_config
from metarl.training.state import TrainState


class Checkpoints(Callback):
    """Write the state at intervals and at the end, and the best parameters whenever there are better ones.

    It must be the last callback: metrics must be on disk before the checkpoint that counts their iteration.

    Args:
        run_dir: a run directory that was claimed.
        every: iterations between checkpoints.
        keep_every: iterations between checkpoints that are kept for good, as checkpoint-NUMBER.pt; 0: none.
    """

    def __init__(self, run_dir: Path, every: int = 1, keep_every: int = 0) -> None:
        self._run_dir = run_dir
        self._every = every
        self._keep_every = keep_every
        self._iterations = 0
        self._unsaved: TrainState | None = None

    def start(self, training: Training, state: TrainState) -> None:
        """Replace a damaged last checkpoint, and write the configuration that the run goes on with."""
        self._iterations = training.iterations
        restore_last(self._run_dir)
        update_config(self._run_dir, state.config)

    def iteration(self, moment: Moment) -> None:
        """Write the checkpoints that are due."""
        state = moment.after
        if moment.best:
            save(self._run_dir / BEST, moment.before)
        if moment.stepped and self._keep_every and state.iteration % self._keep_every == 0:
            save(self._run_dir / kept_name(state.iteration), state)
        self._unsaved = state
        if moment.last or (state.iteration % self._every == 0 and state.iteration < self._iterations):
            self._save()

    def close(self, error: BaseException | None) -> None:
        """Write the last whole state of a training that was stopped in the middle of an iteration."""
        if isinstance(error, StoppedError) and self._unsaved is not None:
            self._save()

    def _save(self) -> None:
        assert self._unsaved is not None
        save_last(self._run_dir, self._unsaved)
        self._unsaved = None


def save_last(run_dir: Path, state: TrainState) -> None:
    """Write the last checkpoint, and keep the one that was there as the one before it."""
    if (run_dir / LAST).exists():
        keep_copy(run_dir / LAST, run_dir / PREVIOUS)
    save(run_dir / LAST, state)
