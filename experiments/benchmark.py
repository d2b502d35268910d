"""Measure the system against references of the same run: python experiments/benchmark.py [NAME ...] --output FILE."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console

from metarl.experiments.benchmarks.busy_machine import busy
from metarl.experiments.benchmarks.cost_growth import growth
from metarl.experiments.benchmarks.curvature import hvp, step
from metarl.experiments.benchmarks.device import device
from metarl.experiments.benchmarks.estimators import estimators
from metarl.experiments.benchmarks.iteration import iteration
from metarl.experiments.benchmarks.learning import learning
from metarl.experiments.benchmarks.peers import peers
from metarl.experiments.benchmarks.ranks import ranks
from metarl.experiments.benchmarks.sampling import sampler
from metarl.experiments.benchmarks.supervised import supervised
from metarl.experiments.benchmarks.workers import workers
from metarl.experiments.commands.command_line import arguments_of, run
from metarl.experiments.commands.output_files import write_figure
from metarl.files import write_atomically
from metarl.operating_system import cores
from metarl.training.help_texts import listing
from metarl.training.run_directory import versions_of

RESULTS = Path(__file__).resolve().parent / "results"


class Benchmark(NamedTuple):
    """A function that measures, and what it measures, for `--help`."""

    measure: Callable[..., Any]
    meaning: str
    must_be_named: bool = False  # it needs packages of an extra, or trains, and passes or fails


BENCHMARKS: dict[str, Benchmark] = {
    "hvp": Benchmark(
        hvp, "accuracy of Hessian-vector products in float32 against exact ones in float64, and their cost"
    ),
    "step": Benchmark(step, "what outer steps that use these products gain on their own data and on fresh data"),
    "sampler": Benchmark(
        sampler, "environment steps per second, against open-loop physics and Gymnasium's vector environments"
    ),
    "iteration": Benchmark(
        iteration,
        "how long each stage of a meta-iteration takes, against open-loop physics and a straightforward implementation",
    ),
    "growth": Benchmark(growth, "seconds and memory by tasks, episodes, horizon, network, inner steps and threads"),
    "supervised": Benchmark(
        supervised,
        "meta-iterations of sinusoid and Omniglot in several formulations, against a Python loop over tasks",
    ),
    "ranks": Benchmark(ranks, "what ranks exchange, the speed of two ranks, and the cost of a slow network"),
    "estimators": Benchmark(
        estimators, "bias and variance of inner and outer losses' derivatives, on enumerated processes"
    ),
    "workers": Benchmark(
        workers,
        "environment steps per second of a loop over environments, of worker processes and of Gymnasium's vector "
        "environments, by the time that a timestep takes",
    ),
    "busy": Benchmark(busy, "how long a meta-iteration takes while other processes keep the cores busy"),
    "peers": Benchmark(
        peers,
        "only if it is named: supervised meta-iterations and sampling beside those of other packages, which "
        "`pip install 'metarl[peers]'` installs",
        must_be_named=True,
    ),
    "learning": Benchmark(
        learning,
        "only if it is named: whether cheetah-dir learns; fails if the return after adaptation does not rise",
        must_be_named=True,
    ),
    "device": Benchmark(
        device, "only if it is named: simulations with MuJoCo Warp on a GPU, beside the CPU", must_be_named=True
    ),
}
MEASURED = tuple(name for name, benchmark in BENCHMARKS.items() if not benchmark.must_be_named)


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    names: tyro.conf.Positional[tuple[str, ...]] = MEASURED
    """Benchmarks. Without any: all but those that must be named."""
    output: Path = Path("benchmark.json")
    """The file for the figures."""
    keep: bool = False
    """Write the figures of each benchmark to a file of its own, experiments/results/benchmark_NAME.json, of which
    `readme.py` makes the tables of the pages."""
    figure: Path | None = None
    """The file for a picture of the errors that `estimators` measures."""
    quick: bool = False
    """Toy sizes, to see that everything runs; their figures mean nothing. For learning: one seed of three, as usual."""


def main(arguments: Arguments) -> None:
    """Run the named benchmarks and write one JSON document."""
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        raise ValueError(f"unknown benchmark {unknown[0]!r}: choose among {', '.join(BENCHMARKS)}")
    if arguments.figure and "estimators" not in arguments.names:
        raise ValueError(f"--figure {arguments.figure} shows what estimators measures; measured are {arguments.names}")
    if arguments.keep and arguments.quick:
        raise ValueError("--keep and --quick exclude each other: figures of toy sizes mean nothing")
    console = Console()
    machine = {**versions_of("torch", "mujoco", "gymnasium"), "cores": cores(), "quick": arguments.quick}
    figures: dict[str, Any] = {}
    for name in arguments.names:
        path = RESULTS / f"benchmark_{name}.json" if arguments.keep else arguments.output
        measured = BENCHMARKS[name].measure(console, quick=arguments.quick)
        # Written after each benchmark, and after each part of one that yields them, because a later one may fail.
        for figures[name] in measured if isinstance(measured, Iterator) else (measured,):
            written = {name: figures[name]} if arguments.keep else figures
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, (json.dumps(machine | written, indent=1) + "\n").encode())
        if arguments.keep or name == arguments.names[-1]:
            console.print(f"figures: {path}", highlight=False, soft_wrap=True)
    if arguments.figure:
        from metarl.experiments.benchmarks.estimator_figure import draw_errors  # here: belongs to an extra

        write_figure(arguments.figure, draw_errors(figures["estimators"]["inner"]), dpi=110)


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    meanings = {name: benchmark.meaning for name, benchmark in BENCHMARKS.items()}
    words = f"{__doc__}\n\n{listing('benchmarks, a few minutes each', meanings)}"
    run(lambda args: arguments_of(Arguments, "benchmark", words, args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
