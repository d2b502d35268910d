"""The figure of a comparison: every method's scores over what it sampled, over processor time, and at the end."""

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.analysis.stored_curves import ScoreCurve
from metarl.experiments.analysis.study_figures import MILLION, STYLE, shared_points
from metarl.extras import needs
from metarl.training.statistics import interval_over_seeds

with needs("plots", "figures"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette with a grey, and two darker ones: one a method.
COLORS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#999999", "#CC79A7", "#000000", "#B8A900", "#6A3D9A")
OFFSET = 0.15  # of the scores before and after adaptation, in rows


def draw_score_curves(methods: dict[str, list[ScoreCurve]], *, amount: str, score: str) -> Figure:
    """Three panels: scores after adaptation over what was sampled and over seconds, and at the end with intervals.

    Args:
        methods: a method in words -> the curves of its seeds.
        amount: the label of the first panel's axis; `millions` in it scales the axis.
        score: the label of scores.

    Raises:
        ValueError: there are more methods than colours that can be told apart.
    """
    if len(methods) > len(COLORS):
        raise ValueError(f"{len(methods)} methods: the figure has {len(COLORS)} colours, so compare no more at a time")
    with mpl.rc_context(STYLE):
        # No wider than other figures, so that a page need not shrink its words.
        figure = Figure(figsize=(9.5, 5.3 + 0.28 * len(methods)), layout="constrained")
        places = figure.add_gridspec(2, 2, height_ratios=(4.0, 0.8 + 0.28 * len(methods)))
        sampled, timed, ends = (figure.add_subplot(place) for place in (places[0, 0], places[0, 1], places[1, :]))
        scale = MILLION if "millions" in amount else 1.0
        for color, (words, curves) in zip(COLORS, methods.items(), strict=False):
            points, seconds, after = aligned(curves)
            label = f"{words} ({len(curves)})"
            for axes, places in ((sampled, points / scale), (timed, seconds)):
                axes.plot(places, after.mean(-1), color=color, linewidth=1.5, label=label)
            if len(curves) > 1:
                sampled.fill_between(points / scale, *interval_over_seeds(after), color=color, alpha=0.1, linewidth=0)
        low, high = _limits(methods)
        sampled.set(xlabel=amount, ylabel=f"{score} after adaptation", ylim=(low, high))
        timed.set(xlabel="processor time of training [s]", ylim=(low, high))
        # Above the panels: methods that end together leave no free corner in them.
        handles, words = sampled.get_legend_handles_labels()
        title = "method (seeds)"
        figure.legend(handles, words, loc="outside upper center", ncols=5, fontsize=9, title=title, title_fontsize=9)
        _ends(ends, methods)
        ends.set_xlabel(score)
        ends.set_title("at the end: x before, o after adaptation", fontsize=10)
    return figure


def aligned(
    curves: list[ScoreCurve],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Shared points of the amounts of S seeds [P], mean seconds there [P], and scores after adaptation [P, S]."""
    points = shared_points([curve.amount for curve in curves])
    seconds = np.mean([np.interp(points, curve.amount, curve.seconds) for curve in curves], axis=0)
    after = np.stack([np.interp(points, curve.amount, curve.after) for curve in curves], axis=-1)
    return points, seconds, after


def _limits(methods: dict[str, list[ScoreCurve]]) -> tuple[float, float]:
    """The range of the methods' means with a margin: intervals of few seeds reach far beyond it."""
    means = np.concatenate([aligned(curves)[2].mean(-1) for curves in methods.values()])
    means = means[np.isfinite(means)]
    margin = 0.05 * float(np.ptp(means)) or 1.0
    return float(means.min()) - margin, float(means.max()) + margin


def _ends(axes: Axes, methods: dict[str, list[ScoreCurve]]) -> None:
    """Every method's score before and after adaptation at the end, with the interval over its seeds."""
    for row, (color, curves) in enumerate(zip(COLORS, methods.values(), strict=False)):
        for marker, place, values in (
            ("x", row - OFFSET, np.array([curve.start for curve in curves])),
            ("o", row + OFFSET, np.array([curve.end for curve in curves])),
        ):
            axes.plot(values.mean(), place, marker, color=color, markersize=6)
            if len(values) > 1:
                axes.hlines(place, *interval_over_seeds(values), color=color, linewidth=1.5, alpha=0.6)
    axes.set_yticks(range(len(methods)), list(methods), fontsize=9)
    axes.invert_yaxis()
