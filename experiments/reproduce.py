"""Reproduce results: python experiments/reproduce.py NAME ... | all [--quick]: train, evaluate, tables and figures."""

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import tyro
from rich.console import Console

from metarl.experiments.analysis.stored_curves import read_stored_return_curves, read_stored_score_curves
from metarl.experiments.catalogue.experiment import Experiment
from metarl.experiments.catalogue.method_comparisons import METHODS
from metarl.experiments.catalogue.paper import PAPER
from metarl.experiments.catalogue.studies import STUDIES
from metarl.experiments.commands.command_line import arguments_of, run
from metarl.experiments.commands.output_files import write_table
from metarl.experiments.reproducing.progress_line import Progress
from metarl.experiments.reproducing.stored_runs import ExperimentRun, Place
from metarl.operating_system import cores, keep_to
from metarl.training.evaluation_files import PER_TASK, is_whole, read_summary
from metarl.training.help_texts import listing
from metarl.training.run_directory import BEST, CONFIG, LAST
from metarl.training.statistics import interval_is_over, interval_over_seeds

ROOT = Path(__file__).resolve().parents[1]
GOES_ON = "what was checkpointed is whole; the same command goes on"
EXPERIMENTS: dict[str, Experiment] = PAPER | STUDIES | METHODS
GROUPS = {"all": EXPERIMENTS, "methods": METHODS}


@dataclass(frozen=True)
class Arguments:
    """Which experiments to reproduce, and how many runs at a time. Runs are resumed where they stopped."""

    names: tyro.conf.Positional[tuple[str, ...]]
    """Experiments; `methods` for all comparisons of methods, or `all`."""
    quick: bool = False
    """Make a tenth of the iterations, with everything under runs/quick, to see that it works and how long it takes."""
    go_on: bool = False
    """Make only the runs that are not finished in experiments/results, and go on with unfinished ones from the files
    that are kept there."""
    jobs: int = 1
    """Runs at a time, each on its share of the cores."""


def main(arguments: Arguments) -> None:
    """Train and evaluate what is missing, then draw."""
    names = list(dict.fromkeys(name for given in arguments.names for name in GROUPS.get(given, [given])))
    if unknown := [name for name in names if name not in EXPERIMENTS]:
        raise ValueError(f"unknown experiment {unknown[0]!r}: choose of {', '.join(EXPERIMENTS)}, methods, or all")
    if not names:
        raise ValueError(f"name an experiment: {', '.join(EXPERIMENTS)}, methods, or all")
    if arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1; got {arguments.jobs}")
    console = Console(markup=False, highlight=False, soft_wrap=True)
    missing: dict[str, list[ExperimentRun]] = {}
    for name in names:
        experiment = EXPERIMENTS[name].quick() if arguments.quick else EXPERIMENTS[name]
        place = Place.of(name, quick=arguments.quick)
        runs = [ExperimentRun(name, training, place) for training in experiment.runs]
        missing[name] = unfinished(experiment, runs, place) if arguments.go_on else runs
        begun = sum(job.iterations_done > 0 for job in missing[name])
        console.print(f"{name}: {len(runs)} runs, {len(runs) - len(missing[name])} finished before, {begun} begun")
    everything = [job for runs in missing.values() for job in runs]
    with Progress(console, everything, arguments.jobs) as progress, Workers(arguments.jobs) as workers:
        making = Making(arguments, workers, progress, console)
        workers.all(in_order(making.make, everything))
        for name, runs in missing.items():
            if runs or EXPERIMENTS[name].analysed_by:
                finish(EXPERIMENTS[name], name, arguments, workers, console)


def in_order(make: Callable[[ExperimentRun], None], jobs: Iterable[ExperimentRun]) -> list[Callable[[], None]]:
    """Tasks that make the runs. One that starts from the policy of an earlier one waits until that has ended."""
    ended: dict[Path, threading.Event] = {}
    tasks = []

    def make_after(job: ExperimentRun, before: threading.Event | None) -> None:
        try:
            if before is not None:
                before.wait()
            make(job)
        finally:
            # Also after a failure, or whoever waits would do so for ever.
            ended[job.directory].set()

    for job in jobs:
        before = ended.get(job.source) if job.source else None
        ended[job.directory] = threading.Event()
        tasks.append(functools.partial(make_after, job, before))
    return tasks


def unfinished(experiment: Experiment, runs: list[ExperimentRun], place: Place) -> list[ExperimentRun]:
    """The runs that are still to be made.

    Where an experiment's tables need the scores of single tasks, one missing run makes all of them count as missing:
    published ones are evaluated again, but not trained.
    """
    if experiment.analysed_by:
        read_stored = read_stored_return_curves if experiment.study else read_stored_score_curves
        curves = read_stored(place.results, experiment)
        return [job for job in runs if job.training.name not in curves]
    made = all((place.results / file).is_file() for file in experiment.outputs)
    if made and all(job.is_published(job.training.iterations) for job in runs):
        return []
    return runs


@dataclass(frozen=True)
class Making:
    """How runs are made: the arguments, the processes, the progress line and the console."""

    arguments: Arguments
    workers: "Workers"
    progress: Progress
    console: Console
    analysing: threading.Lock = field(default_factory=threading.Lock)

    def make(self, job: ExperimentRun) -> None:
        """Train a run, evaluate it or add it to its analysis, and copy its small files to the results."""
        iterations = job.training.iterations
        log = job.directory.with_suffix(".log")
        if self.arguments.go_on:
            try:
                job.bring_back(iterations)
            except ValueError as error:
                self.console.print(f"{job.name}: from nothing, for {error}")
        flags = job.training.arguments
        self.console.print(f"{job.name}: train.py {' '.join(flags)}", soft_wrap=False)
        self.console.print(f"  what it prints: {log}")
        with self.progress.making(job, iterations) as active:
            try:
                if not job.is_brought_back:
                    start = job.initial_parameters()
                    self.workers.script(log, "train", *flags, *start, "--run-dir", job.directory, "--resume")
            finally:
                job.keep()
            active.stage = "is evaluated"
            experiment = EXPERIMENTS[job.experiment]
            if experiment.analysed_by:
                with self.analysing:
                    analyse(job.experiment, self.arguments, self.workers)
                job.drop()
            else:
                if not is_evaluated(job.directory):
                    self.workers.script(log, "evaluate", job.directory)
                job.publish(experiment)
        self.console.print(f"{job.name}: done")


def is_evaluated(run_dir: Path) -> bool:
    """Whether a run has a whole evaluation that is newer than the checkpoints and the configuration that it scored."""
    if not is_whole(run_dir):
        return False
    scored = [run_dir / name for name in (LAST, BEST, CONFIG) if (run_dir / name).is_file()]
    return (run_dir / PER_TASK).stat().st_mtime >= max(path.stat().st_mtime for path in scored)


def analyse(name: str, arguments: Arguments, workers: "Workers") -> None:
    """Make tables and figures of the finished runs of a study or a comparison."""
    place = Place.of(name, quick=arguments.quick)
    flags = ["--quick"] if arguments.quick else []
    script = EXPERIMENTS[name].analysed_by
    assert script is not None
    log = place.runs / f"{script}.log"
    workers.script(log, script, name, "--runs", place.runs, "--results", place.results, *flags)


def finish(experiment: Experiment, name: str, arguments: Arguments, workers: "Workers", console: Console) -> None:
    """Make the figures and tables of an experiment whose runs are finished."""
    place = Place.of(name, quick=arguments.quick)
    if experiment.analysed_by:
        analyse(name, arguments, workers)
        console.print(f"tables and figures: {place.results}")
        return
    log = place.runs / "figures.log"
    for figure, names in experiment.figures.items():
        output = place.results / f"{figure}.png"
        runs = [place.runs / name for name in names]
        workers.script(log, "plot", *runs, "--output", output, "--table", output.with_suffix(".csv"))
        console.print(f"figure and table: {output}, {output.with_suffix('.csv')}")
    for file, (filmed, flags) in experiment.films.items():
        workers.script(log, "render", place.runs / filmed, *flags.split(), "--output", place.results / file)
        console.print(f"film: {place.results / file}")
    tables: dict[str, list[dict[str, Any]]] = {}
    for protocol in experiment.protocols:
        summaries = []
        for scored in protocol.runs:
            output = place.runs / "protocols" / protocol.name.replace(" ", "-").replace(",", "") / scored
            workers.script(log, "evaluate", place.runs / scored, *protocol.flags.split(), "--output", output)
            summaries.append(read_summary(output))
        identity = {"protocol": protocol.name, "flags": protocol.flags}
        tables.setdefault(protocol.table, []).extend(identity | row for row in protocol_rows(summaries))
    for table, rows in tables.items():
        write_table(place.results / f"{table}.csv", rows, list(rows[0]))
        console.print(f"table: {place.results / table}.csv")


def protocol_rows(summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per gradient step the mean with its interval, over seeds; of one seed over its tasks, with their median."""
    score = "loss" if "loss" in summaries[0]["steps"][0] else "average_return"
    rows = []
    for step in range(min(len(summary["steps"]) for summary in summaries)):
        scores = [summary["steps"][step][score] for summary in summaries]
        means = np.array([np.nan if summary["mean"] is None else summary["mean"] for summary in scores], np.float64)
        row = {"seeds": len(scores), "gradient_steps": step, "interval_over": interval_is_over(len(scores))}
        row["mean"] = float(means.mean())
        if len(scores) == 1:
            rows.append(row | {name: scores[0][name] for name in ("low", "high", "median")})
        else:
            low, high = map(float, interval_over_seeds(means))
            rows.append(row | {"low": low, "high": high, "median": None})
    return rows


class Workers:
    """Run scripts as processes, some at a time, each on its share of the cores."""

    def __init__(self, jobs: int) -> None:
        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(cores()))
        self._shares = [set(own[job::jobs]) or set(own) for job in range(jobs)]
        self._pool = ThreadPoolExecutor(jobs)
        self._free = list(self._shares)
        self._mine = threading.local()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._handlers: dict[int, Any] = {}  # of signals, as they were before
        self._stopping = False

    def __enter__(self) -> "Workers":
        # Without this, children would go on by themselves after such a signal.
        if threading.current_thread() is threading.main_thread():
            for name in ("SIGTERM", "SIGHUP"):
                if hasattr(signal, name):  # Windows lacks the latter
                    number = getattr(signal, name)
                    self._handlers[number] = signal.signal(number, _interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping = True
        # After an interruption or a failure, the other runs stop with a checkpoint.
        if kind is not None:
            if self._children:
                print("stopping: every run ends its iteration and writes a checkpoint", file=sys.stderr)
            for child in list(self._children):
                child.terminate()
        self._pool.shutdown(cancel_futures=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def all(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Call every task, in order, as many at a time as there are shares. Raises the first error of a task."""
        for future in [self._pool.submit(task) for task in tasks]:
            future.result()

    def script(self, log: Path, name: str, *arguments: object) -> None:
        """Run a script to its end, its output appended to a log. Raises ValueError, with its last line, if it fails."""
        log.parent.mkdir(parents=True, exist_ok=True)
        if not hasattr(self._mine, "cores"):
            self._mine.cores = self._free.pop() if self._free else self._shares[0]
        command = [sys.executable, str(ROOT / "experiments" / f"{name}.py"), *map(str, arguments)]
        with log.open("ab") as output:
            start = output.tell()
            # A session of its own, so that Ctrl-C reaches the child from here alone, once.
            child = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            keep_to(child.pid, self._mine.cores)
            self._children.add(child)
            if self._stopping:
                child.terminate()
            code = child.wait()
            self._children.discard(child)
        if code:
            last = (log.read_bytes()[start:].decode(errors="replace").strip() or "no output").splitlines()[-1]
            raise ValueError(f"{name}.py {' '.join(map(str, arguments))} failed ({code}; {log}): {last}")


def _interrupt(*_: int | FrameType | None) -> None:
    raise KeyboardInterrupt


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    sizes = {name: f"{len(known.runs)} runs of {known.runs[0].preset}" for name, known in EXPERIMENTS.items()}
    run(
        lambda args: arguments_of(Arguments, "reproduce", f"{__doc__}\n\n{listing('experiments', sizes)}", args),
        main,
        argv,
        GOES_ON,
    )


if __name__ == "__main__":
    command(sys.argv[1:])
