"""Draw runs from what they left on disk: python experiments/plot.py RUN_DIR ... --output FIGURE.png (or .svg, .pdf)."""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from experiments.command_line import run
from experiments.figures import Run, draw, pooled, published
from metarl.training.config import Config
from metarl.training.logger import read_metrics
from metarl.training.run_directory import CONFIG, MAY_CHANGE, METRICS, read_config

SAME = {"environment", "environment_options", "horizon", "dataset"}  # of all methods in one figure
FREE = MAY_CHANGE | {"seed"}  # what seeds of one method may differ in


@dataclass(frozen=True)
class Arguments:
    """Which runs to draw; runs of the same method are averaged over their seeds."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of evaluated runs of one experiment."""
    output: Path
    """The figure's file: .png, .svg or .pdf."""
    table: Path | None = None
    """A .csv file for the numbers behind the adaptation curves."""


def read_run(directory: Path) -> Run:
    """Read one run. Raises ValueError if it is no run, or was not evaluated."""
    config = read_config(directory)
    path = directory / "evaluation.csv"
    if not path.is_file():
        raise ValueError(f"{directory} has no evaluation.csv: run experiments/evaluate.py {directory} first")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = 1 + max(int(row["gradient_steps"]) for row in rows)
    scores = np.array([float(row[config.score]) for row in rows]).reshape(steps, -1)
    document = json.loads((directory / "evaluation.json").read_text())
    if (split := document.get("split", "test")) != "test":
        raise ValueError(f"{directory} was evaluated on {split} tasks: figures are of test tasks")
    protocol = {name: document[name] for name in config.protocol} | {"inner_steps": config.inner_steps}
    return Run(directory, config, _label(config), protocol, scores, read_metrics(directory / METRICS))


def _label(config: Config) -> str:
    """The method, with what makes it a variant."""
    variants = ["first order"] * config.first_order + [config.rule] * (config.rule != "sgd")
    return ", ".join([config.method, *(variants if config.method == "maml" else [])])


def require_comparable(runs: list[Run]) -> None:
    """Raises ValueError unless all runs are of one preset, each method and seed once, measured by one protocol."""
    first, seen = runs[0], {}
    for one in runs:
        if one.config.preset != first.config.preset:
            raise ValueError(f"one figure shows one preset; got {first.config.preset} and {one.config.preset}")
        identity = (one.label, one.config.seed)
        if identity in seen:
            raise ValueError(f"{seen[identity]} and {one.directory} are both {identity[0]}, seed {identity[1]}")
        seen[identity] = one.directory
        first_alike = next(other for other in runs if other.label == one.label)
        _require_same(first, one, SAME)
        _require_same(first_alike, one, set(one.config.to_dict()) - FREE)
        for name, value in one.protocol.items():
            other = first_alike if name == "step_sizes" else first  # each method has its own
            _require_equal(other, one, name, other.protocol[name], value)


def _require_same(first: Run, one: Run, names: set[str]) -> None:
    ours, theirs = first.config.to_dict(), one.config.to_dict()
    for name in sorted(names & set(ours)):
        if not name.startswith("evaluation_"):  # the protocol has those
            _require_equal(first, one, name, ours[name], theirs[name])


def _require_equal(first: Run, one: Run, name: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise ValueError(
            f"{first.directory} and {one.directory} cannot be compared: {name} is {ours} in one and {theirs} in the "
            "other"
        )


def main(arguments: Arguments) -> None:
    """Print the comparison and write the figure."""
    if arguments.table and arguments.table.suffix != ".csv":
        raise ValueError(f"--table must end in .csv; got {arguments.table}")
    if arguments.table and (arguments.table.parent / CONFIG).exists():
        raise ValueError(f"--table {arguments.table} lies in a run directory: choose another place")
    if arguments.output.suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--output must end in .png, .svg or .pdf; got {arguments.output}")
    if not arguments.run_dirs:
        raise ValueError("name at least one run directory")
    runs = [read_run(directory) for directory in arguments.run_dirs]
    require_comparable(runs)
    methods: dict[str, list[Run]] = defaultdict(list)
    for one in runs:
        methods[one.label].append(one)
    rows = comparison(methods)
    Console().print(comparison_table(runs[0].config, rows))
    Console().print(refused_steps(methods))
    if arguments.table:
        arguments.table.parent.mkdir(parents=True, exist_ok=True)
        with arguments.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    figure = draw(methods)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=150)
    Console().print(f"figure: {arguments.output}", highlight=False, soft_wrap=True, markup=False)


def comparison(methods: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """A row per method and gradient step: the score's mean and 95 % interval over tasks, and the published mean."""
    rows = []
    for method, runs in methods.items():
        theirs = published(runs)
        for step, summary in enumerate(pooled(runs)):
            identity = {"preset": runs[0].config.preset, "method": method, "seeds": len(runs), "gradient_steps": step}
            rows.append(identity | summary | {"published": theirs.get(step)})
    return rows


def comparison_table(config: Config, rows: list[dict[str, Any]]) -> Table:
    """The rows of `comparison`, to be read."""
    table = Table(title=f"{config.preset}: {config.score.replace('_', ' ')} on held-out tasks")
    table.add_column("method")
    any_published = any(row["published"] is not None for row in rows)
    for name in ("seeds", "gradient steps", "mean", "95 % interval", "median", *["published"] * any_published):
        table.add_column(name, justify="right")
    for row in rows:
        if row["gradient_steps"] == 0:
            table.add_section()
        known = ["-" if row["published"] is None else f"{row['published']:.4g}"] * any_published
        interval, median = f"{row['low']:.4g} .. {row['high']:.4g}", f"{row['median']:.4g}"
        steps = str(row["gradient_steps"])
        table.add_row(row["method"], str(row["seeds"]), steps, f"{row['mean']:.4g}", interval, median, *known)
    return table


def refused_steps(methods: dict[str, list[Run]]) -> str:
    """How many outer steps were refused (each has its row in metrics.csv): learning must not stall unseen."""
    counts = []
    for method, runs in methods.items():
        rows = [row for one in runs for row in one.metrics if "outer/nonfinite" in row]
        if rows:
            refused = sum(row.get("outer/accepted", 1.0 - row["outer/nonfinite"]) == 0.0 for row in rows)
            steps = sum(int(one.metrics[-1]["iteration"]) + ("outer/nonfinite" in one.metrics[-1]) for one in runs)
            counts.append(f"{method} {refused} of {steps}")
    return f"rejected outer steps: {', '.join(counts) or 'none made'}"


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(lambda args: tyro.cli(Arguments, prog="experiments/plot.py", description=__doc__, args=args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
