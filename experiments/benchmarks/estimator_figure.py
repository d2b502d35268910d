"""The figure of the estimators' benchmark: errors of Hessians by the number of trajectories that are averaged."""

from typing import Any

import numpy as np

from metarl.experiments.analysis.study_figures import COLORS, STYLE
from metarl.extras import needs

with needs("plots", "figures"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAJECTORIES = np.logspace(0, 4, 81)


def draw_errors(rows: list[dict[str, Any]]) -> Figure:
    """A panel per process and baseline, of the rows of `inner_rows`: relative errors of every inner loss's Hessian.

    The mean of n independent estimates with bias b and deviation d has the root mean squared error sqrt(b^2 + d^2 / n).
    """
    processes = list(dict.fromkeys(row["process"] for row in rows))
    baselines = list(dict.fromkeys(row["baseline"] for row in rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(processes), 2.9 * len(baselines)), layout="constrained")
        panels = figure.subplots(len(baselines), len(processes), sharex=True, sharey=True, squeeze=False)
        for line, baseline in zip(panels, baselines, strict=True):
            for axes, process in zip(line, processes, strict=True):
                shown = [row for row in rows if (row["process"], row["baseline"]) == (process, baseline)]
                _errors(axes, shown)
                axes.set_title(f"{process}, baseline: {baseline}", fontsize=10)
        for axes in panels[-1]:
            axes.set_xlabel("trajectories")
        for axes in panels[:, 0]:
            axes.set_ylabel("relative error of the Hessian")
        panels[0, 0].legend(fontsize=8)
    return figure


def _errors(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """The error of every inner loss, and its bias as a dotted line where it has one that can be seen."""
    for color, row in zip(COLORS, sorted(rows, key=lambda row: row["inner_loss"]), strict=False):
        error = np.sqrt(row["hessian_bias"] ** 2 + row["hessian_deviation"] ** 2 / TRAJECTORIES)
        axes.loglog(TRAJECTORIES, error, color=color, label=row["inner_loss"].replace("_", " "))
        if row["hessian_bias"] > error[-1] / 2:
            axes.axhline(row["hessian_bias"], color=color, linestyle=":", linewidth=1)
    axes.axhline(1, color="black", linewidth=0.5)
