"""Figures of studies: learning curves by the levels of every factor, and effects with their intervals."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.analysis.effects import Effect
from metarl.experiments.analysis.stored_curves import ReturnCurve
from metarl.experiments.catalogue.study_design import Cell, Study
from metarl.extras import needs

with needs("plots", "figures"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00")  # Okabe and Ito's palette, one a level
STYLE: dict[Any, bool] = {"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}
COLUMNS = 4  # panels beside each other
MILLION = 1e6


def draw_curves(study: Study, curves: dict[str, ReturnCurve]) -> Figure:
    """A panel per factor: the return after adaptation of every run by timesteps, and the mean of each level."""
    with mpl.rc_context(STYLE):
        rows = -(-len(study.factors) // COLUMNS)
        figure = Figure(figsize=(3.2 * COLUMNS, 2.9 * rows), layout="constrained")
        panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
        for place, axes in enumerate(panels.flat):
            if place < len(study.factors):
                _curves_of_factor(axes, study, place, curves)
            else:
                axes.set_axis_off()
        for axes in panels[-1]:
            axes.set_xlabel("timesteps [millions]")
        for axes in panels[:, 0]:
            axes.set_ylabel("return after adaptation")
    return figure


def _curves_of_factor(axes: Axes, study: Study, place: int, curves: dict[str, ReturnCurve]) -> None:
    factor = study.factors[place]
    for level, words in enumerate(factor.levels):
        chosen = [
            curves[cell.name] for cell in study.cells if cell.name in curves and _shown(study, cell, place, level)
        ]
        color = COLORS[level % len(COLORS)]
        for curve in chosen:
            axes.plot(curve.timesteps / MILLION, curve.after, color=color, alpha=0.25, linewidth=0.7)
        if chosen:
            timesteps, mean = mean_curve(chosen)
            axes.plot(timesteps / MILLION, mean, color=color, linewidth=2, label=f"{words} ({len(chosen)})")
    axes.set_title(factor.name, fontsize=10)
    axes.legend(fontsize=7, loc="upper left")


def _shown(study: Study, cell: Cell, place: int, level: int) -> bool:
    """Whether a run belongs to a level's curve; in a one-at-a-time study all its other factors must be at the base."""
    others = (*cell.levels[:place], *cell.levels[place + 1 :])
    return cell.levels[place] == level and (study.analysis == "factorial" or not any(others))


def mean_curve(curves: list[ReturnCurve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The timesteps of the coarsest curve that all curves reach, and the mean return after adaptation there."""
    shared = shared_points([curve.timesteps for curve in curves])
    return shared, np.mean([np.interp(shared, curve.timesteps, curve.after) for curve in curves], axis=0)


def shared_points(axes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The points of the coarsest of several increasing axes that lie within all of them."""
    coarsest = min(axes, key=len)
    return coarsest[(coarsest >= max(axis[0] for axis in axes)) & (coarsest <= min(axis[-1] for axis in axes))]


def draw_effects(effects: dict[str, list[Effect]]) -> Figure:
    """A panel per response: every term's effect with its interval, in the order of the design."""
    with mpl.rc_context(STYLE):
        terms = [effect.term for effect in next(iter(effects.values()))]
        figure = Figure(figsize=(5 * len(effects), 1.2 + 0.28 * len(terms)), layout="constrained")
        panels = figure.subplots(1, len(effects), sharey=True, squeeze=False)[0]
        for axes, (words, ones) in zip(panels, effects.items(), strict=True):
            places = np.arange(len(ones))
            estimates = np.array([effect.estimate for effect in ones])
            margins = np.nan_to_num(np.array([effect.margin for effect in ones]))
            away = np.abs(estimates) > margins
            axes.axvline(0, color="black", linewidth=0.8)
            axes.hlines(places, estimates - margins, estimates + margins, color="#999999", linewidth=1.5)
            axes.plot(estimates[away], places[away], "o", color=COLORS[1], label="interval without 0")
            axes.plot(estimates[~away], places[~away], "o", color=COLORS[1], markerfacecolor="white")
            axes.set_yticks(places, terms, fontsize=8)
            axes.set(xlabel=f"effect on the {words}")
        panels[0].invert_yaxis()
        panels[0].legend(fontsize=7)
    return figure
