"""Reproduce results: python experiments/reproduce.py NAME ... | all [--quick]: train, evaluate, tables and figures."""

import csv
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import tyro
from rich.console import Console

from metarl.experiments.command_line import run
from metarl.experiments.paper import EXPERIMENTS, Experiment, Training
from metarl.experiments.train import parse as parse_training
from metarl.training.run_directory import BEST, CONFIG, LAST, METRICS

ROOT = Path(__file__).resolve().parents[1]
GOES_ON = "what was checkpointed is whole; the same command goes on"
KEPT = (CONFIG, METRICS, "evaluation.json", "evaluation.csv", LAST, BEST)  # of a run, beside its experiment's figures


@dataclass(frozen=True)
class Arguments:
    """Which experiments, and how much of the machine they may have. Runs are resumed where they stopped."""

    names: tyro.conf.Positional[tuple[str, ...]]
    """Experiments, or all."""
    quick: bool = False
    """A tenth of the iterations, with everything under runs/quick: does it work, and how long would it take?"""
    go_on: bool = False
    """Go on from the runs that are kept in experiments/results, where runs/ has none: from nothing otherwise."""
    jobs: int = 1
    """Runs at a time, each on its share of the cores."""


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


def main(arguments: Arguments) -> None:
    """Train and evaluate what is missing, then draw."""
    names = list(EXPERIMENTS) if "all" in arguments.names else list(arguments.names)
    if unknown := [name for name in names if name not in EXPERIMENTS]:
        raise ValueError(f"unknown experiment {unknown[0]!r}: choose of {', '.join(EXPERIMENTS)}, or all")
    if not names:
        raise ValueError(f"name an experiment: {', '.join(EXPERIMENTS)}, or all")
    if arguments.jobs < 1:
        raise ValueError(f"--jobs must be at least 1; got {arguments.jobs}")
    console = Console(markup=False, highlight=False, soft_wrap=True)
    with Workers(arguments.jobs) as workers:
        workers.all(
            functools.partial(make_run, name, one, arguments, workers, console)
            for name in names
            for one in EXPERIMENTS[name].runs
        )
        for name in names:
            finish(EXPERIMENTS[name], Place.of(name, quick=arguments.quick), workers, console)


def make_run(name: str, one: Training, arguments: Arguments, workers: "Workers", console: Console) -> None:
    """Train and evaluate a run; keep what is small of it beside the experiment's figures."""
    place = Place.of(name, quick=arguments.quick)
    run_dir, kept = place.runs / one.name, place.results / one.name
    if arguments.go_on and not run_dir.exists():
        if lacking := [file for file in (CONFIG, LAST, BEST) if not (kept / file).is_file()]:
            console.print(f"{name}/{one.name}: from nothing, for {kept} has no {', '.join(lacking)}")
        else:
            shutil.copytree(kept, run_dir, ignore=shutil.ignore_patterns("evaluation.*"))
    flags = [one.preset, *one.flags.split()]
    if arguments.quick:
        flags += ["--iterations", str(-(-parse_training(flags).config.iterations // 10))]
    log = run_dir.with_suffix(".log")
    console.print(f"{name}/{one.name}: train.py {' '.join(flags)} -> {run_dir}, {log}")
    workers.script(log, "train", *flags, "--run-dir", run_dir, "--resume")
    evaluation = run_dir / "evaluation.json"
    if not evaluation.is_file() or evaluation.stat().st_mtime < max(
        (run_dir / name).stat().st_mtime for name in (LAST, CONFIG)
    ):
        workers.script(log, "evaluate", run_dir)
    kept.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        if (run_dir / file).is_file():  # a random run of nothing measured has no metrics
            shutil.copy2(run_dir / file, kept / file)
    console.print(f"{name}/{one.name}: done")


def finish(experiment: Experiment, place: Place, workers: "Workers", console: Console) -> None:
    """Figures and tables of an experiment whose runs are there."""
    log = place.runs / "figures.log"
    for figure, names in experiment.figures.items():
        output = place.results / f"{figure}.png"
        runs = [place.runs / name for name in names]
        workers.script(log, "plot", *runs, "--output", output, "--table", output.with_suffix(".csv"))
        console.print(f"figure and table: {output}, {output.with_suffix('.csv')}")
    for file, (name, flags) in experiment.films.items():
        workers.script(log, "render", place.runs / name, *flags.split(), "--output", place.results / file)
        console.print(f"film: {place.results / file}")
    tables: dict[str, list[dict[str, Any]]] = {}
    for protocol in experiment.protocols:
        summaries = []
        for name in protocol.runs:
            output = place.runs / "protocols" / protocol.name.replace(" ", "-").replace(",", "") / name
            workers.script(log, "evaluate", place.runs / name, *protocol.flags.split(), "--output", output)
            summaries.append(json.loads((output / "evaluation.json").read_text()))
        identity = {"protocol": protocol.name, "flags": protocol.flags}
        tables.setdefault(protocol.table, []).extend(identity | row for row in protocol_rows(summaries))
    for table, rows in tables.items():
        with (place.results / f"{table}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        console.print(f"table: {place.results / table}.csv")


def protocol_rows(summaries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per gradient step the mean over seeds; with one seed, its interval over tasks."""
    score = "loss" if "loss" in summaries[0]["steps"][0] else "average_return"
    rows = []
    for step in range(len(summaries[0]["steps"])):
        ones = [summary["steps"][step][score] for summary in summaries]
        row = {"seeds": len(ones), "gradient_steps": step, "mean": sum(one["mean"] for one in ones) / len(ones)}
        rows.append(row | {name: ones[0][name] if len(ones) == 1 else None for name in ("low", "high", "median")})
    return rows


class Workers:
    """Runs scripts as processes of their own, some at a time, each on its share of the cores."""

    def __init__(self, jobs: int) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self._shares = [set(cores[job::jobs]) or set(cores) for job in range(jobs)]
        self._pool = ThreadPoolExecutor(jobs)
        self._free, self._mine = list(self._shares), threading.local()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopping = False

    def __enter__(self) -> "Workers":
        if threading.current_thread() is threading.main_thread():  # or the children would go on by themselves
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, _interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping = True
        if kind is not None:  # interrupted, or one failed: the others are checkpointed
            for child in list(self._children):
                child.terminate()
        self._pool.shutdown(cancel_futures=True)

    def all(self, tasks: Iterable[Callable[[], None]]) -> None:
        """Call every task, in order, as many at a time as there are shares. Raises what the first to fail raised."""
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
            # in a session of its own: Ctrl-C comes from here alone, once
            child = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            os.sched_setaffinity(child.pid, self._mine.cores)
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
    """The script: its arguments without its name."""
    run(
        lambda args: tyro.cli(Arguments, prog="experiments/reproduce.py", description=__doc__, args=args),
        main,
        argv,
        GOES_ON,
    )


if __name__ == "__main__":
    command(sys.argv[1:])
