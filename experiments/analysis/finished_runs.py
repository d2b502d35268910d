"""What study.py and compare.py share: their arguments, and the collection of an experiment's finished runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import tyro
from rich.console import Console

from metarl.experiments.catalogue.experiment import Experiment, Training

OfRun = TypeVar("OfRun")  # what is read of a run: its ReturnCurve, or its ScoreCurve


@dataclass(frozen=True)
class Arguments:
    """What to analyse, and where its runs and results are."""

    name: tyro.conf.Positional[str]
    """The study, or the comparison."""
    runs: Path | None = None
    """Directory with its runs. Default: runs/NAME."""
    results: Path | None = None
    """Directory for tables and figures. Default: experiments/results/NAME."""
    quick: bool = False
    """The runs have a tenth of the iterations."""

    @property
    def runs_dir(self) -> Path:
        """The directory with the runs."""
        return self.runs or Path("runs", self.name)

    @property
    def results_dir(self) -> Path:
        """The directory for tables and figures."""
        return self.results or Path("experiments", "results", self.name)

    def choose(self, experiments: Mapping[str, Experiment], kind: str) -> Experiment:
        """The experiment of that name; `kind` is what the experiments are, in a word. Raises ValueError if none is."""
        if self.name not in experiments:
            raise ValueError(f"unknown {kind} {self.name!r}: choose one of {', '.join(experiments)}")
        experiment = experiments[self.name]
        return experiment.quick() if self.quick else experiment


def finished_runs(
    arguments: Arguments,
    experiment: Experiment,
    *,
    read: Callable[[Path, Training], OfRun | None],
    read_stored: Callable[[Path, Experiment], dict[str, OfRun]],
    console: Console,
) -> dict[str, OfRun]:
    """What is read of every finished run, by the run's name.

    Args:
        arguments: where the runs and the results are.
        experiment: whose runs to read.
        read: a run's directory and declaration -> what is read of it; None if the run is not finished.
        read_stored: the directory of results -> what it holds of runs whose directories are gone.
        console: is told how many runs are finished.

    Raises:
        ValueError: no run is finished, or a directory holds another run.
    """
    before = read_stored(arguments.results_dir, experiment)
    found = {
        training.name: read(arguments.runs_dir / training.name, training) or before.get(training.name)
        for training in experiment.runs
    }
    finished = {name: value for name, value in found.items() if value is not None}
    console.print(f"{arguments.name}: {len(finished)} of {len(found)} runs are finished")
    if not finished:
        raise ValueError(
            f"no run of {arguments.name} is finished in {arguments.runs_dir}: "
            f"python experiments/reproduce.py {arguments.name} makes them"
        )
    return finished
