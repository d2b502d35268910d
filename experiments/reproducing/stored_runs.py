"""What `experiments/results/` keeps of a run: enough to go on with it, and less once it is finished."""

import json
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metarl.engine.outer import refused
from metarl.experiments.analysis.stored_curves import settings
from metarl.experiments.catalogue.experiment import Experiment, Training
from metarl.files import write_atomically
from metarl.metrics import rounded
from metarl.training.callbacks.csv import read_metrics, write_metrics
from metarl.training.evaluation_files import PER_TASK, SUMMARY, read_summary
from metarl.training.run_directory import BEST, CONFIG, LAST, METRICS, NAMED, read_config
from metarl.training.tree import Difference, differences

# The order matters: best.pt and metrics.csv may be ahead of the last checkpoint, which is copied first.
TO_GO_ON = (LAST, BEST, METRICS, CONFIG)
DIGITS = 3  # significant digits of a finished run's learning curve; more would only fill the repository
SCORE_DIGITS = 6  # significant digits of a published evaluation; no table shows more
ROWS = 60  # of a finished run's learning curve, beside those with a validation
# How the seconds of an iteration divide, which no page shows and `benchmark.py` measures better.
NOT_PUBLISHED = {"time/sample", "time/adapt", "time/outer", "time/env_steps_per_s"}


@dataclass(frozen=True)
class Place:
    """The folders of an experiment's runs, and of what is made of them."""

    runs: Path
    results: Path

    @staticmethod
    def of(name: str, *, quick: bool) -> "Place":
        """The folders of an experiment. Results of quick runs lie beside the runs, because they are not committed."""
        if quick:
            runs = Path("runs", "quick", name)
            return Place(runs, runs / "results")
        return Place(Path("runs", name), Path("experiments", "results", name))


@dataclass(frozen=True)
class ExperimentRun:
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
        """The folder of a finished run's learning curve and summary, and of some runs' policy."""
        return self.place.results / self.training.name

    @property
    def unfinished(self) -> Path:
        """The folder of an unfinished run's checkpoints and learning curve."""
        return self.place.results / "unfinished" / self.training.name

    @property
    def iterations_done(self) -> int:
        """Iterations that the run's metrics, in its directory or in the results, tell of; 0 before the first."""
        for directory in (self.directory, self.unfinished):
            if directory.is_dir():
                return iterations_logged(directory / METRICS)
        return 0

    @property
    def source(self) -> Path | None:
        """The directory of the run that this one starts from; None: it starts from nothing."""
        return self.place.runs / self.training.after if self.training.after else None

    def initial_parameters(self) -> list[str]:
        """The flags with which a run that has not begun starts from the run that it follows; [] for any other.

        Raises:
            ValueError: the run that it follows is not finished, or the results kept no policy of it.
        """
        if self.source is None or (self.directory / LAST).is_file():
            return []
        if not _has(self.source, (BEST, SUMMARY)):
            raise ValueError(
                f"{self.name} starts from {self.source}, which is not finished or has no {BEST}: run it first"
            )
        return ["--initial-parameters", str(self.source)]

    @property
    def is_brought_back(self) -> bool:
        """Whether the directory holds a published policy, which can be evaluated again and drawn, but not trained."""
        return (self.directory / SUMMARY).is_file() and not _has(self.directory, (LAST, BEST))

    def is_published(self, iterations: int) -> bool:
        """Whether the results hold the summary of a run with these settings, of at least `iterations` iterations."""
        if not _has(self.published, (CONFIG, SUMMARY)) or self.other_settings():
            return False
        return read_config(self.published).iterations >= iterations

    def other_settings(self) -> list[Difference]:
        """The settings of the published run that are others than the experiment's, as after a change of its preset."""
        if not (self.published / CONFIG).is_file():
            return []
        return differences(read_config(self.published), self.training.config)

    def bring_back(self, iterations: int) -> None:
        """Make the run's directory of the files in the results, if there is no directory.

        Raises:
            ValueError: the results have too little of the run to go on with; the message says what is missing.
        """
        if self.directory.exists():
            return
        if _has(self.unfinished, TO_GO_ON):
            shutil.copytree(self.unfinished, self.directory)
        elif _has(self.published, TO_GO_ON):
            shutil.copytree(self.published, self.directory, ignore=shutil.ignore_patterns("evaluation.*"))
        elif self.is_published(iterations) and _has(self.published, _evaluated_checkpoints(self.published)):
            shutil.copytree(self.published, self.directory, ignore=shutil.ignore_patterns(PER_TASK))
        elif different := self.other_settings():
            raise ValueError(f"{self.published} has other settings: {'; '.join(map(str, different))}")
        else:
            lacking = [file for file in TO_GO_ON if not (self.published / file).is_file()]
            raise ValueError(f"{self.published} has no {', '.join(lacking)}")

    def keep(self) -> None:
        """Copy the files that the run needs to go on into the results, if its last checkpoint is newer than theirs."""
        last = self.directory / LAST
        copy = self.unfinished / LAST
        if self.is_brought_back or not last.is_file():
            return
        if copy.is_file() and copy.stat().st_mtime >= last.stat().st_mtime:
            return
        _copy(self.directory, self.unfinished, TO_GO_ON)

    def publish(self, experiment: Experiment) -> None:
        """Copy learning curve and summary of a finished and evaluated run, and nothing else, to the results.

        Of the runs that the experiment's `policies` name, also the checkpoints that its evaluations score.
        """
        checkpoints = set[str]()
        if self.training.name in experiment.policies:
            checkpoints |= _evaluated_checkpoints(self.directory)
            checkpoints |= _checkpoints_of_protocols(experiment, self.training)
        small = {CONFIG, SUMMARY, *checkpoints}
        _copy(self.directory, self.published, small - {SUMMARY})
        if (self.directory / SUMMARY).is_file():
            text = json.dumps(_in_short(read_summary(self.directory)), indent=1)
            write_atomically(self.published / SUMMARY, f"{text}\n".encode())
        if rows := read_metrics(self.directory / METRICS):
            write_metrics(self.published / METRICS, thinned(rows), DIGITS)
        for file in {*TO_GO_ON, PER_TASK} - small - {METRICS}:
            (self.published / file).unlink(missing_ok=True)
        self.drop()

    def drop(self) -> None:
        """Remove the files that were kept to go on with the run."""
        if self.unfinished.is_dir():
            shutil.rmtree(self.unfinished)
            if not any(self.unfinished.parent.iterdir()):
                self.unfinished.parent.rmdir()


def thinned(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return what is published of a learning curve: all rows that others count, and `ROWS` more at most.

    Counted are validations and refused outer steps; the last row tells how long the run is.
    """
    every = math.ceil(len(rows) / ROWS)
    kept = [
        row
        for number, row in enumerate(rows, start=1)
        if number % every == 0
        or number == len(rows)
        or refused(row, "outer/")
        or any(name.startswith("validation/") for name in row)
    ]
    return [{name: value for name, value in row.items() if name not in NOT_PUBLISHED} for row in kept]


def iterations_logged(metrics: Path) -> int:
    """Iterations that a metrics.csv tells of, by its last complete line; 0 without one."""
    if not metrics.is_file():
        return 0
    with metrics.open("rb") as file:
        header = file.readline()
        file.seek(max(len(header), metrics.stat().st_size - 16_384))
        whole, _, _ = file.read().rpartition(b"\n")
    cell = whole.rpartition(b"\n")[2].partition(b",")[0]
    return int(cell) + 1 if cell.isdigit() else 0


def _in_short(value: Any) -> Any:
    """A JSON value whose fractions have `SCORE_DIGITS` significant digits."""
    if isinstance(value, float):
        return rounded(value, SCORE_DIGITS)
    if isinstance(value, list):
        return [_in_short(item) for item in value]
    if isinstance(value, dict):
        return {name: _in_short(item) for name, item in value.items()}
    return value


def _evaluated_checkpoints(directory: Path) -> set[str]:
    """The file of the checkpoint that the evaluation in a directory scored."""
    return {NAMED[read_summary(directory)["checkpoint"]]}


def _checkpoints_of_protocols(experiment: Experiment, training: Training) -> set[str]:
    """The files of the checkpoints that the experiment's further evaluations of a run name."""
    protocols = [protocol for protocol in experiment.protocols if training.name in protocol.runs]
    named = [settings(protocol.flags.split()).get("checkpoint") for protocol in protocols]
    return {NAMED[value[0]] for value in named if value}


def _has(directory: Path, files: Iterable[str]) -> bool:
    return all((directory / file).is_file() for file in files)


def _copy(source: Path, target: Path, files: Iterable[str]) -> None:
    """Copy those of the files that exist: a run of method random, for instance, may have no metrics."""
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        if (source / file).is_file():
            write_atomically(target / file, (source / file).read_bytes())
