"""Analyse a study's finished runs: python experiments/study.py NAME [--runs DIR]: tables of effects, and figures.

Finished runs are read from DIR and added to curves.csv in the study's results. Tables and figures are made from that
file.
"""

import math
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from metarl.experiments.analysis.effects import LETTERS, Effect, differences_from_base, factorial_effects
from metarl.experiments.analysis.finished_runs import Arguments, finished_runs
from metarl.experiments.analysis.stored_curves import (
    CURVES,
    RUNS,
    ReturnCurve,
    finished_return_curve,
    read_stored_return_curves,
    write_return_curves,
)
from metarl.experiments.analysis.study_figures import draw_curves, draw_effects
from metarl.experiments.catalogue.studies import STUDIES
from metarl.experiments.catalogue.study_design import Cell, Study
from metarl.experiments.commands.command_line import arguments_of, run
from metarl.experiments.commands.output_files import write_figure, write_table

RESPONSES = {"end": "return at the end", "whole": "mean return over the whole run"}


def main(arguments: Arguments) -> None:
    """Collect the finished runs, then write tables and figures."""
    experiment = arguments.choose(STUDIES, "study")
    study = experiment.study
    assert study is not None
    console = Console(markup=False, highlight=False, soft_wrap=True)
    curves = finished_runs(
        arguments, experiment, read=finished_return_curve, read_stored=read_stored_return_curves, console=console
    )
    results = arguments.results_dir
    write_return_curves(results / CURVES, curves)
    flags = {training.name: training.flags for training in experiment.runs}
    write_table(results / RUNS, *run_rows(study, curves, flags))
    write_figure(results / "curves.png", draw_curves(study, curves), dpi=110)
    effects, seeds = effects_of(study, curves)
    write_table(results / "effects.csv", *effect_rows(study, effects, seeds))
    if effects:
        drawn = draw_effects({words: effects[response] for response, words in RESPONSES.items()})
        write_figure(results / "effects.png", drawn, dpi=110)
    console.print(f"tables and figures: {results}")


def run_rows(
    study: Study, curves: dict[str, ReturnCurve], flags: dict[str, str]
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """A row per finished run, with its levels, its responses and its flags; and the names of the columns."""
    rows = []
    for cell in study.cells:
        if cell.name in curves:
            reached = {response: f"{getattr(curves[cell.name], response):.2f}" for response in RESPONSES}
            identity = {"run": cell.name, "seed": str(cell.seed)}
            rows.append(identity | study.words(cell) | reached | {"flags": flags[cell.name]})
    return rows, ("run", "seed", *(factor.name for factor in study.factors), *RESPONSES, "flags")


def complete_seeds(study: Study, curves: dict[str, ReturnCurve]) -> list[int]:
    """The seeds of which every combination of levels is finished."""
    seeds = sorted({cell.seed for cell in study.cells})
    return [seed for seed in seeds if all(cell.name in curves for cell in study.cells if cell.seed == seed)]


def effects_of(study: Study, curves: dict[str, ReturnCurve]) -> tuple[dict[str, list[Effect]], int]:
    """The effects on each response from the seeds that are complete ({} if none is), and the number of these seeds."""
    seeds = complete_seeds(study, curves)
    if not seeds:
        return {}, 0
    cells = [cell for cell in study.cells if cell.seed == seeds[0]]
    effects = {}
    for response in RESPONSES:
        measured = _responses(study, curves, cells, seeds, response)
        if study.analysis == "factorial":
            effects[response] = factorial_effects(np.array([cell.levels for cell in cells]), measured)
        else:
            names = [_level_name(study, cell) for cell in cells]
            effects[response] = differences_from_base(names, measured)
    return effects, len(seeds)


def _responses(
    study: Study, curves: dict[str, ReturnCurve], cells: list[Cell], seeds: list[int], response: str
) -> NDArray[np.float64]:
    """The response of every combination of levels with every complete seed, [cells, seeds]."""
    names = {(cell.levels, cell.seed): cell.name for cell in study.cells}
    return np.array([[getattr(curves[names[cell.levels, seed]], response) for seed in seeds] for cell in cells])


def _level_name(study: Study, cell: Cell) -> str:
    """The levels in which a one-at-a-time run differs from the base, in words."""
    words = study.words(cell)
    varied = [factor.name for factor, level in zip(study.factors, cell.levels, strict=True) if level]
    return ", ".join(f"{name} {words[name]}" for name in varied) or "base"


def effect_rows(
    study: Study, effects: dict[str, list[Effect]], seeds: int
) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """A row per term, with its meaning and its effect on each response; and the names of the columns.

    Before the first seed is complete there are rows for a factorial's factors, without effects.
    """
    names = {}
    if study.analysis == "factorial":
        for letter, factor in zip(LETTERS, study.factors, strict=False):
            first, second = factor.levels
            names[letter] = f"{factor.name}: {second}, not {first}"
    terms = [effect.term for effect in next(iter(effects.values()), [])]
    rows = []
    for place, term in enumerate(terms or names):
        row = {"term": term, "meaning": names.get(term, "interactions"), "seeds": str(seeds)}
        if study.analysis == "one at a time":
            row["meaning"] = "difference from the base"
        for response, values in effects.items():
            row[response] = f"{values[place].estimate:.2f}"
            if not math.isnan(margin := values[place].margin):
                row[f"{response}_low"] = f"{values[place].estimate - margin:.2f}"
                row[f"{response}_high"] = f"{values[place].estimate + margin:.2f}"
        rows.append(row)
    bounds = [f"{response}{ending}" for response in RESPONSES for ending in ("", "_low", "_high")]
    return rows, ("term", "meaning", "seeds", *bounds)


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "study", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
