"""What `experiments/results/` keeps of a run: enough to go on with, and little of it once it is finished."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from metarl.experiments.curves import settings
from metarl.experiments.experiment import Experiment, Training
from metarl.files import write_atomically
from metarl.training.evaluation_files import PER_TASK, SUMMARY, read_summary
from metarl.training.run_directory import BEST, CONFIG, LAST, METRICS, read_config

TO_GO_ON = (LAST, BEST, METRICS, CONFIG)  # in this order: best.pt and metrics.csv may be ahead of the last checkpoint
CHECKPOINTS = {"last": LAST, "best": BEST}


@dataclass(frozen=True)
class Place:
    """Where an experiment's runs go, and what is made of them."""

    runs: Path
    results: Path

    @staticmethod
    def of(name: str, *, quick: bool) -> "Place":
        """Results are committed, quick ones not."""
        runs = Path("runs", *["quick"] * quick, name)
        return Place(runs, runs / "results" if quick else Path("experiments", "results", name))


@dataclass(frozen=True)
class Run:
    """A run of an experiment: where it is made, and where the small part of it is kept."""

    experiment: str
    training: Training
    place: Place

    @property
    def name(self) -> str:
        """EXPERIMENT/RUN."""
        return f"{self.experiment}/{self.training.name}"

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.place.runs / self.training.name

    @property
    def published(self) -> Path:
        """Where a finished run's policy, learning curve and summary lie."""
        return self.place.results / self.training.name

    @property
    def unfinished(self) -> Path:
        """Where an unfinished run's checkpoints and learning curve lie."""
        return self.place.results / "unfinished" / self.training.name

    @property
    def iterations_done(self) -> int:
        """How many iterations the run's metrics tell of, wherever they are; 0 before the first."""
        for directory in (self.directory, self.unfinished):
            if directory.is_dir():
                return iterations_logged(directory / METRICS)
        return 0

    @property
    def is_brought_back(self) -> bool:
        """Whether the directory holds a published policy, to be evaluated again and drawn, but not trained."""
        return (self.directory / SUMMARY).is_file() and not _has(self.directory, (LAST, BEST))

    def is_published(self, iterations: int) -> bool:
        """Whether the results hold a policy of so many iterations with its summary."""
        if not _has(self.published, (CONFIG, SUMMARY)) or read_config(self.published).iterations < iterations:
            return False
        return _has(self.published, _evaluated_checkpoints(self.published))

    def bring_back(self, iterations: int) -> None:
        """Fill the run's directory from the results, where there is none.

        Raises:
            ValueError: nothing that can be gone on with is there, with the words for it.
        """
        if self.directory.exists():
            return
        if _has(self.unfinished, TO_GO_ON):
            shutil.copytree(self.unfinished, self.directory)
        elif _has(self.published, TO_GO_ON):
            shutil.copytree(self.published, self.directory, ignore=shutil.ignore_patterns("evaluation.*"))
        elif self.is_published(iterations):
            shutil.copytree(self.published, self.directory, ignore=shutil.ignore_patterns(PER_TASK))
        else:
            lacking = [file for file in TO_GO_ON if not (self.published / file).is_file()]
            raise ValueError(f"{self.published} has no {', '.join(lacking)}")

    def keep(self) -> None:
        """Copy what the run must not lose into the results, if its last checkpoint is newer than what is there."""
        last, copy = self.directory / LAST, self.unfinished / LAST
        if self.is_brought_back or not last.is_file():
            return
        if copy.is_file() and copy.stat().st_mtime >= last.stat().st_mtime:
            return
        _copy(self.directory, self.unfinished, TO_GO_ON)

    def publish(self, experiment: Experiment) -> None:
        """Keep of the finished and evaluated run its policy, learning curve and summary alone."""
        checkpoints = {*_evaluated_checkpoints(self.directory), *_checkpoints_of_protocols(experiment, self.training)}
        small = {CONFIG, METRICS, SUMMARY, *checkpoints}
        _copy(self.directory, self.published, small)
        for file in {*TO_GO_ON, PER_TASK} - small:
            (self.published / file).unlink(missing_ok=True)
        self.drop()

    def drop(self) -> None:
        """Remove what was kept to go on with."""
        if self.unfinished.is_dir():
            shutil.rmtree(self.unfinished)
            if not any(self.unfinished.parent.iterdir()):
                self.unfinished.parent.rmdir()


def iterations_logged(metrics: Path) -> int:
    """How many iterations a metrics.csv tells of, by its last complete line; 0 without one."""
    if not metrics.is_file():
        return 0
    with metrics.open("rb") as file:
        header = file.readline()
        file.seek(max(len(header), metrics.stat().st_size - 16_384))
        whole, _, _ = file.read().rpartition(b"\n")
    cell = whole.rpartition(b"\n")[2].partition(b",")[0]
    return int(cell) + 1 if cell.isdigit() else 0


def _evaluated_checkpoints(directory: Path) -> set[str]:
    """The file of the checkpoint that the evaluation in a directory scored."""
    return {CHECKPOINTS[read_summary(directory)["checkpoint"]]}


def _checkpoints_of_protocols(experiment: Experiment, training: Training) -> set[str]:
    """The files of the checkpoints that the experiment's further evaluations of a run name."""
    named = [settings(one.flags.split()).get("checkpoint") for one in experiment.protocols if training.name in one.runs]
    return {CHECKPOINTS[value[0]] for value in named if value}


def _has(directory: Path, files: Iterable[str]) -> bool:
    return all((directory / file).is_file() for file in files)


def _copy(source: Path, target: Path, files: Iterable[str]) -> None:
    """Copy those of the files that are there: a random run of nothing measured has no metrics."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        if (source / file).is_file():
            write_atomically(target / file, (source / file).read_bytes())
