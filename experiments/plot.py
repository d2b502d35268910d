"""Draw runs from what they left on disk: python experiments/plot.py RUN_DIR ... --output FIGURE.png (or .svg, .pdf)."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metarl.engine.outer import refused
from metarl.experiments.commands.command_line import arguments_of, run
from metarl.experiments.commands.output_files import write_figure, write_table
from metarl.experiments.figures.comparable_runs import by_setting, grouped, require_comparable, split_by_training
from metarl.experiments.figures.curve_points import XAxis
from metarl.experiments.figures.evaluated_runs import Run, pooled, published, read_run, replaced_since
from metarl.extras import require
from metarl.metrics import number
from metarl.training.config import Config
from metarl.training.run_directory import holds_run
from metarl.training.statistics import interval_is_over


@dataclass(frozen=True)
class Arguments:
    """Which runs to draw; runs of the same method are averaged over their seeds."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of runs of one experiment: evaluated, or in progress, which have learning curves alone."""
    output: Path
    """The figure's file: .png, .svg or .pdf."""
    table: Path | None = None
    """A .csv file for the numbers behind the adaptation curves."""
    by: str | None = None
    """An option in which the runs differ, such as inner_step_size: runs of one value are averaged over their seeds, and
    the legend has the value."""
    x: XAxis = "iterations"
    """What learning curves are drawn over: iterations, the timesteps of the environment, or the seconds of training."""
    evaluation: str = ""
    """Draw another evaluation than that of the test tasks: the folder of each run that holds it, such as tasks-far,
    which evaluate.py --task-file far.csv makes."""


def main(arguments: Arguments) -> None:
    """Print the comparison and write the figure."""
    output, table = arguments.output, arguments.table
    _require_places(arguments, output, table)
    require("plots", "figures")
    console = Console()
    runs = [read_run(directory, arguments.evaluation) for directory in arguments.run_dirs]
    if arguments.by:
        runs = by_setting(runs, arguments.by)
    require_comparable(runs, arguments.by)
    methods = grouped(runs)
    for shown in runs:
        if not shown.is_evaluated:
            made, planned = shown.progress
            words = f"in progress: {shown.directory}, {made} of {planned} iterations, without an evaluation"
            console.print(words, highlight=False, soft_wrap=True, markup=False)
    if scored := grouped(split_by_training(runs)):
        _warn_of_steps(scored)
        for shown in runs:
            if words := replaced_since(shown):
                warnings.warn(words, stacklevel=2)
        rows = comparison(scored)
        words = "tasks of a file" if arguments.evaluation else "held-out tasks"
        console.print(comparison_table(runs[0].config, rows, words))
        if table:
            write_table(table, rows, list(rows[0]))
    elif table:
        raise ValueError(f"--table {table} would be empty: none of the runs is evaluated")
    console.print(refused_steps(methods))
    from metarl.experiments.figures.run_figures import draw  # here: belongs to an extra

    write_figure(output, draw(methods, arguments.x), dpi=150)
    console.print(f"figure: {output}", highlight=False, soft_wrap=True, markup=False)


def _require_places(arguments: Arguments, output: Path, table: Path | None) -> None:
    """Raise ValueError for files that cannot be written so, or no runs."""
    if table and table.suffix.lower() != ".csv":
        raise ValueError(f"--table must end in .csv; got {table}")
    if table and holds_run(table.parent):
        raise ValueError(f"--table {table} lies in a run directory: choose another place")
    if output.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--output must end in .png, .svg or .pdf; got {output}")
    if not arguments.run_dirs:
        raise ValueError("name at least one run directory")


def _warn_of_steps(methods: dict[str, list[Run]]) -> None:
    """Warn of methods whose runs were evaluated after different numbers of gradient steps, and what is left out."""
    for method, runs in methods.items():
        steps = sorted({len(each.scores) - 1 for each in runs})
        if len(steps) > 1:
            words = f"the runs of {method} were evaluated after up to {' or '.join(map(str, steps))} gradient steps"
            warnings.warn(f"{words}: what follows step {steps[0]} is left out", stacklevel=2)


def comparison(methods: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """A row per method and gradient step: the score by `pooled`, what intervals are over, and the published mean."""
    rows = []
    for method, runs in methods.items():
        theirs = published(runs)
        for step, summary in enumerate(pooled(runs)):
            identity = {"preset": runs[0].config.preset, "method": method, "seeds": len(runs), "gradient_steps": step}
            identity["interval_over"] = interval_is_over(len(runs))
            rows.append(identity | summary | {"published": theirs.get(step)})
    return rows


def comparison_table(config: Config, rows: list[dict[str, Any]], tasks: str = "held-out tasks") -> Table:
    """The rows of `comparison`, to be read; `tasks` in words.

    Means of several seeds, their intervals and published means fit 80 columns, which a frame would not leave room for.
    """
    table = Table(
        box=SIMPLE,
        padding=0,
        pad_edge=False,
        show_edge=False,
        title=f"{config.preset}: {config.problem.score.replace('_', ' ')} on {tasks}",
    )
    several = any(row["seeds"] > 1 for row in rows)
    any_published = any(row["published"] is not None for row in rows)
    middle = "interquartile\nmean [95 %]" if several else "median"
    for name in ("method", "95 %\nover", "steps", "mean [95 %]", middle, *(["published"] if any_published else [])):
        table.add_column(escape(name), justify="left" if name == "method" else "right")
    for row in rows:
        if row["gradient_steps"] == 0:
            table.add_section()
        theirs = "-" if row["published"] is None else f"{row['published']:.4g}"
        mean = _with_interval(row, "mean", "low", "high")
        iqm = _with_interval(row, "interquartile_mean", "iqm_low", "iqm_high")
        over = f"{row['seeds']} seeds" if row["interval_over"] == "seeds" else "tasks"
        identity = (row["method"], over, str(row["gradient_steps"]))
        table.add_row(*identity, mean, iqm if several else f"{row['median']:.4g}", *([theirs] if any_published else []))
    return table


def _with_interval(row: dict[str, Any], *names: str) -> str:
    value, low, high = (number(row[name], digits=3) for name in names)
    return escape(f"{value} [{low}, {high}]")


def refused_steps(methods: dict[str, list[Run]]) -> str:
    """How many outer steps were refused (each has its row in metrics.csv): learning must not stall unseen."""
    counts = []
    for method, runs in methods.items():
        rows = [row for shown in runs for row in shown.metrics if "outer/nonfinite" in row]
        if rows:
            count = sum(refused(row, "outer/") for row in rows)
            steps = sum(shown.progress[0] for shown in runs)
            counts.append(f"{method} {count} of {steps}")
    return f"refused outer steps: {', '.join(counts) or 'none made'}"


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "plot", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
