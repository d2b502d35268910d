"""Measure the system against references of the same run: python experiments/benchmark.py [NAME ...] --output FILE."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import tyro
from rich.console import Console

from metarl.experiments.benchmarks.busy import busy
from metarl.experiments.benchmarks.curvature import hvp, step
from metarl.experiments.benchmarks.device import device
from metarl.experiments.benchmarks.estimators import estimators
from metarl.experiments.benchmarks.growth import growth
from metarl.experiments.benchmarks.iteration import iteration
from metarl.experiments.benchmarks.learning import learning
from metarl.experiments.benchmarks.ranks import ranks
from metarl.experiments.benchmarks.sampling import sampler
from metarl.experiments.benchmarks.supervised import supervised
from metarl.experiments.benchmarks.workers import workers
from metarl.experiments.command_line import arguments_of, run
from metarl.experiments.outputs import write_figure
from metarl.files import write_atomically
from metarl.machine import cores
from metarl.training.run_directory import versions_of

Name = Literal[
    "hvp",
    "step",
    "sampler",
    "iteration",
    "growth",
    "supervised",
    "ranks",
    "estimators",
    "workers",
    "busy",
    "learning",
    "device",
]
NAMES: tuple[Name, ...] = get_args(Name)
BENCHMARKS: dict[Name, Callable[..., Any]] = {
    "hvp": hvp,
    "step": step,
    "sampler": sampler,
    "iteration": iteration,
    "growth": growth,
    "supervised": supervised,
    "ranks": ranks,
    "estimators": estimators,
    "workers": workers,
    "busy": busy,
    "learning": learning,
    "device": device,
}
# The others train, and pass or fail, or need an extra.
MEASURED: tuple[Name, ...] = tuple(name for name in NAMES if name not in ("learning", "device"))


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    names: tyro.conf.Positional[tuple[Name, ...]] = MEASURED
    """hvp: accuracy of Hessian-vector products in float32 against exact ones in float64, and their cost. step: what
    outer steps that use these products gain on their own data and on fresh data. sampler: environment steps per second,
    against open-loop physics and Gymnasium's vector environments. iteration: how long each stage of a meta-iteration
    takes, against open-loop physics and a straightforward implementation. growth: seconds and memory by tasks,
    episodes, horizon, network, inner steps and threads. supervised: meta-iterations of sinusoid and Omniglot in several
    formulations, against a Python loop over tasks. ranks: what ranks exchange, the speed of two ranks, and the cost of
    a slow network. estimators: bias and variance of inner and outer losses' derivatives, on enumerated processes.
    workers: environment steps per second of a loop over environments, of worker processes and of Gymnasium's vector
    environments, by the time that a timestep takes. busy: how long a meta-iteration takes while other processes keep
    the cores busy. learning, only if it is named: whether cheetah-dir learns; it fails
    if the return after adaptation does not rise. device, only if it is named: simulations with MuJoCo Warp on a GPU,
    beside the CPU. Each takes a few minutes."""
    output: Path = Path("benchmark.json")
    """The file for the figures."""
    figure: Path | None = None
    """The file for a picture of the errors that `estimators` measures. Default: none."""
    quick: bool = False
    """Toy sizes, to see that everything runs; their figures mean nothing. For learning: one seed of three, as usual."""


def main(arguments: Arguments) -> None:
    """Run the named benchmarks and write one JSON document."""
    if arguments.figure and "estimators" not in arguments.names:
        raise ValueError(f"--figure {arguments.figure} shows what estimators measures; measured are {arguments.names}")
    console = Console()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        **versions_of("torch", "mujoco", "gymnasium"),
        "cores": cores(),
        "quick": arguments.quick,
    }
    for name in arguments.names:
        figures = BENCHMARKS[name](console, quick=arguments.quick)
        # Written after each benchmark and each part of one, because a later one may fail.
        for document[name] in figures if isinstance(figures, Iterator) else (figures,):
            write_atomically(arguments.output, (json.dumps(document, indent=1) + "\n").encode())
    if arguments.figure:
        from metarl.experiments.benchmarks.estimator_figure import draw_errors  # here: belongs to an extra

        write_figure(arguments.figure, draw_errors(document["estimators"]["inner"]), dpi=110)
    console.print(f"figures: {arguments.output}", highlight=False, soft_wrap=True)


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "benchmark", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
