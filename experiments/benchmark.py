"""Measure the system against references of the same run: python experiments/benchmark.py [NAME ...] --output FILE."""

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._pytree import tree_map

from experiments.assemble import make_outer, make_problem
from experiments.command_line import run
from experiments.presets import PRESETS
from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, ravel
from metarl.engine.trust_region import CURVATURES, Matvec, conjugate_gradient
from metarl.training.checkpoint import write_atomically
from metarl.training.config import Config

DAMPING = 1e-5  # of the conjugate gradient, as in the presets
EPSILONS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    names: tyro.conf.Positional[tuple[Literal["hvp"], ...]] = ("hvp",)
    """hvp: accuracy of Hessian-vector products in float32 against exact ones in float64, and their cost."""
    output: Path = Path("benchmark.json")
    """Where the figures go."""


def hvp(console: Console) -> list[dict[str, Any]]:
    """Every kind of product x epsilon x nonlinearity, on navigation-paper with 10 tasks, after 6 meta-iterations.

    Relative errors |H v - exact| / |exact| along the gradient, the exact trust-region step, and a random direction;
    `gain`: the share of the exact step's improvement per unit of KL that the step made of these products reaches;
    `cost`: seconds of a product over seconds of a meta-gradient.
    """
    rows = []
    for activation in ("tanh", "relu"):
        config = dataclasses.replace(PRESETS["navigation-paper"][1], tasks=10, activation=activation)
        single, exact = _objectives(config)
        gradient = ravel(exact.loss_and_gradient(exact.theta_old)[1])
        reference = exact.curvature(exact.theta_old, "exact")
        best = conjugate_gradient(reference, gradient, damping=DAMPING).x
        noise = torch.randn(len(best), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        directions = {"gradient": gradient, "step": best, "random": noise}
        products = {name: reference(v) for name, v in directions.items()}
        for kind in CURVATURES:
            for epsilon in EPSILONS if kind in ("symmetric", "forward") else (None,):
                options = {} if epsilon is None else {"epsilon": epsilon}
                matvec = single.curvature(single.theta_old, kind, **options)
                errors = {
                    f"error_{name}": ((matvec(v) - products[name]).norm() / products[name].norm()).item()
                    for name, v in directions.items()
                }
                step = conjugate_gradient(matvec, gradient, damping=DAMPING).x
                gain = _improvement(step, gradient, reference) / _improvement(best, gradient, reference)
                cost = _cost(
                    lambda matvec=matvec, v=noise: matvec(v),
                    lambda objective=single: objective.loss_and_gradient(objective.theta_old),
                )
                row = {"activation": activation, "kind": kind, "epsilon": epsilon, **errors, "gain": gain, "cost": cost}
                rows.append(row)
    console.print(_table("Hessian-vector products in float32", rows))
    return rows


def _objectives(config: Config) -> tuple[MetaObjective, MetaObjective]:
    """The objective of the 7th meta-iteration, in float32 and, with the very same data, in float64."""
    problem = make_problem(config)
    outer = make_outer(dataclasses.replace(config, curvature="gauss_newton"))
    theta = problem.initial_parameters(config.seed)
    for iteration in range(6):
        theta, _, _ = outer.step(theta, {}, problem.collect(theta, iteration)[0])
    single, _ = problem.collect(theta, 6)

    def double(tree: Any) -> Any:
        return tree_map(torch.Tensor.double, tree)

    theta64: Params = double(theta)
    support, query = double(single.support), double(single.query)
    return single, MetaObjective(theta64, single.rule, single.functions, support, query, num_tasks=single.num_tasks)


def _improvement(step: Tensor, gradient: Tensor, matvec: Matvec) -> float:
    """First-order improvement of a step scaled to unit KL: g^T s / sqrt(s^T H s)."""
    return (gradient.dot(step) / step.dot(matvec(step)).sqrt()).item()


def _cost(call: Callable[[], object], reference: Callable[[], object], repeats: int = 5) -> float:
    """Median over repeats of a call's seconds over those of the reference just before it, after a warm-up."""
    ratios = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        reference()
        between = time.perf_counter()
        call()
        ratios.append((time.perf_counter() - between) / (between - start))
    return statistics.median(ratios[1:])


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", "\n"), justify="right")
    for row in rows:
        table.add_row(*(f"{value:.2g}" if isinstance(value, float) else str(value or "-") for value in row.values()))
    return table


def main(arguments: Arguments) -> None:
    """Run the named benchmarks and write one JSON document."""
    console = Console()
    benchmarks = {"hvp": hvp}
    results = {name: benchmarks[name](console) for name in arguments.names}
    document = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        **results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.output, (json.dumps(document, indent=1) + "\n").encode())
    console.print(f"figures: {arguments.output}", highlight=False, soft_wrap=True)


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(lambda args: tyro.cli(Arguments, prog="experiments/benchmark.py", description=__doc__, args=args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
