"""Compare methods: python experiments/compare.py NAME [--runs DIR]: a table, and a figure.

Finished runs are read from DIR and added to curves.csv in the comparison's results. The table and the figure are made
from that file.
"""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from metarl.experiments.analysis.comparison_figures import draw_score_curves
from metarl.experiments.analysis.finished_runs import Arguments, finished_runs
from metarl.experiments.analysis.stored_curves import (
    CURVES,
    RUNS,
    ScoreCurve,
    finished_score_curve,
    read_stored_score_curves,
    write_score_curves,
)
from metarl.experiments.catalogue.comparison import Comparison
from metarl.experiments.catalogue.method_comparisons import METHODS
from metarl.experiments.commands.command_line import arguments_of, run
from metarl.experiments.commands.output_files import write_figure, write_table
from metarl.experiments.presets.training_arguments import parse
from metarl.training.statistics import interval_over_seeds

TABLE = "methods.csv"
FIGURE = "figure.png"


def main(arguments: Arguments) -> None:
    """Collect the finished runs, then write the table and the figure."""
    experiment = arguments.choose(METHODS, "comparison")
    comparison = experiment.comparison
    assert comparison is not None
    console = Console(markup=False, highlight=False, soft_wrap=True)
    curves = finished_runs(
        arguments, experiment, read=finished_score_curve, read_stored=read_stored_score_curves, console=console
    )
    results = arguments.results_dir
    write_score_curves(results / CURVES, curves)
    made = [{"run": training.name, "flags": training.flags} for training in experiment.runs if training.name in curves]
    write_table(results / RUNS, made, ("run", "flags"))
    write_table(results / TABLE, *table_rows(comparison, curves))
    config = parse(experiment.runs[0].arguments).config
    metric, _ = config.problem.drawn_curve
    amount = "timesteps [millions]" if config.problem.score == "average_return" else "meta-iterations"
    drawn = draw_score_curves(by_method(comparison, curves), amount=amount, score=metric.label)
    write_figure(results / FIGURE, drawn, dpi=110)
    console.print(f"table and figure: {results}")


def by_method(comparison: Comparison, curves: dict[str, ScoreCurve]) -> dict[str, list[ScoreCurve]]:
    """The curves of each method's finished seeds, by the method in words; methods without any are left out."""
    found = {
        method.words: [curves[name] for seed in comparison.seeds if (name := comparison.run(method, seed)) in curves]
        for method in comparison.methods
    }
    return {words: finished for words, finished in found.items() if finished}


def table_rows(comparison: Comparison, curves: dict[str, ScoreCurve]) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """A row per method: its scores at the end and its seconds, means over seeds with intervals; and the columns."""
    rows = []
    for words, finished in by_method(comparison, curves).items():
        row = {"method": words, "seeds": str(len(finished))}
        row |= _over_seeds("before", np.array([curve.start for curve in finished]))
        row |= _over_seeds("after", np.array([curve.end for curve in finished]))
        rows.append(row | _over_seeds("seconds", np.array([curve.seconds[-1] for curve in finished])))
    bounds = (f"{name}{ending}" for name in ("before", "after", "seconds") for ending in ("", "_low", "_high"))
    return rows, ("method", "seeds", *bounds)


def _over_seeds(name: str, values: NDArray[np.float64]) -> dict[str, str]:
    """The mean of the seeds' values [S] with its interval, where there are two."""
    cells = {name: values.mean()}
    if len(values) > 1:
        cells[f"{name}_low"], cells[f"{name}_high"] = map(float, interval_over_seeds(values))
    return {column: f"{value:#.4g}" for column, value in cells.items()}


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "compare", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
