"""Experiments: the runs that are trained, and the figures, tables and films that are made of them."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from metarl.experiments.catalogue.comparison import Comparison
from metarl.experiments.catalogue.study_design import Study
from metarl.experiments.presets.training_arguments import parse
from metarl.training.config import Config

SEEDS = (1, 2, 3)


class Training(NamedTuple):
    """One run: its name in the experiment, its preset, and further flags of train.py."""

    name: str
    preset: str
    flags: str = ""
    after: str = ""  # the run of the experiment, earlier in its list, from whose best parameters this one starts

    @property
    def arguments(self) -> list[str]:
        """The arguments of train.py, without the run's directory."""
        return [self.preset, *self.flags.split()]

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return parse(self.arguments).config

    @property
    def iterations(self) -> int:
        """Iterations that the run makes."""
        return self.config.outer_steps

    def quick(self) -> "Training":
        """The same with a tenth of the iterations."""
        return self._replace(flags=f"{self.flags} --iterations {-(-self.config.iterations // 10)}".strip())


class Protocol(NamedTuple):
    """Another evaluation of some runs, with further flags of evaluate.py, which becomes rows of a table."""

    name: str
    runs: tuple[str, ...]
    flags: str = ""
    table: str = "protocols"


@dataclass(frozen=True)
class Experiment:
    """Runs that are trained, drawn and filmed; results go to `experiments/results/NAME/`.

    Runs of a study or a comparison are not evaluated on held-out tasks: a script analyses their learning curves.
    """

    runs: tuple[Training, ...]
    figures: dict[str, tuple[str, ...]] = field(default_factory=dict)  # file without its ending -> names of runs
    protocols: tuple[Protocol, ...] = ()
    films: dict[str, tuple[str, str]] = field(default_factory=dict)  # file -> run, flags of render.py
    policies: tuple[str, ...] = ()  # names of the runs whose parameters the results keep, for whoever loads them
    study: Study | None = None
    comparison: Comparison | None = None

    @property
    def analysed_by(self) -> Literal["study", "compare"] | None:
        """The script that makes tables and figures of the runs' learning curves; None for runs that are evaluated."""
        if self.study:
            return "study"
        return "compare" if self.comparison else None

    def quick(self) -> "Experiment":
        """The same with a tenth of the iterations of every run."""
        return dataclasses.replace(self, runs=tuple(training.quick() for training in self.runs))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The files that are made of the finished runs, in the experiment's folder of results."""
        tables = dict.fromkeys(f"{protocol.table}.csv" for protocol in self.protocols)
        figures = (f"{name}{ending}" for name in self.figures for ending in (".png", ".csv"))
        return (*figures, *self.films, *tables)


def seeded(name: str, preset: str, flags: str = "", seeds: Iterable[int] = SEEDS) -> tuple[Training, ...]:
    """The same run with several seeds."""
    return tuple(Training(f"{name}-seed{seed}", preset, f"{flags} --seed {seed}".strip()) for seed in seeds)
