"""Figures of evaluated runs: learning curves, adaptation curves, and what adaptation looks like in the task itself."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.evaluated import Commands, Run, interval_in_words, pooled, published
from metarl.extras import needs
from metarl.supervised.pictures import draw_fits, draw_images

with needs("plots", "figures"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.ticker import MaxNLocator

COLORS = {  # Okabe and Ito's palette, safe for the colour-blind
    "maml": "#0072B2",
    "maml, first order": "#56B4E9",
    "maml, meta-sgd": "#CC79A7",
    "pretrained": "#009E73",
    "oracle": "#E69F00",
    "random": "#D55E00",
}

MARKERS = {"maml": "o", "maml, first order": "v", "maml, meta-sgd": "P", "pretrained": "^", "random": "D"}
STEP_COLORS = ("#999999", "#5EC962", "#21918C", "#3B528B", "#440154")  # before adaptation, after each step: viridis
PATH_DIRECTIONS = ((1, 1), (-1, 1), (1, -1))  # the paths' panels: the test goal farthest in each direction
PANELS = 3  # tasks that are drawn
SMOOTH = 50  # the thick learning curves are running means over an n-th of the shortest one

Traces = dict[str, NDArray[Any]]


def draw(methods: dict[str, list[Run]]) -> Figure:
    """The whole figure: learning and adaptation curves above, below what MAML's adaptation looks like."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        shown = {label: traces for label, runs in methods.items() if (traces := _traces(runs[0])) is not None}
        navigation = {label: traces for label, traces in shown.items() if "mask" in traces}
        commands = {label: [one.commands for one in runs if one.commands] for label, runs in methods.items()}
        commands = {label: ones for label, ones in commands.items() if ones}
        heights = [4.2 if len(methods) > 1 else 3.4]
        heights += [
            1.8 if methods[label][0].config.problem.score == "accuracy" else 3.0
            for label in shown
            if label not in navigation
        ]
        heights += [6.6 if len(navigation) > 1 else 2.6] * bool(navigation) + [3.0] * bool(commands)
        figure = Figure(figsize=(9.5, sum(heights)))
        figure.set_layout_engine("constrained", w_pad=0.1)
        top, *below = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        learning, adaptation = top.subplots(1, 2)
        learning_curves(learning, methods)
        adaptation_curves(adaptation, methods)
        for label in [label for label in shown if label not in navigation]:
            _panels(below.pop(0), methods[label][0], shown[label])
        if navigation:
            paths(below.pop(0), navigation)
        if commands:
            command_curves(below[-1].subplots(1, len(commands), sharey=True, squeeze=False)[0], commands)
    return figure


def learning_curves(axes: Axes, methods: dict[str, list[Run]]) -> None:
    """Scores over meta-iterations, before and after the inner steps: running mean over seeds, each seed thin."""
    curves_of: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for label, runs in methods.items():
        config = runs[0].config
        metric, _ = config.problem.drawn_curve
        last = config.adaptation_steps
        for step in sorted({0, last}):
            name = metric.at(step)
            rows = [[row for row in run.metrics if name in row] for run in runs]
            curves = [np.array([(row["iteration"], row[name]) for row in measured]) for measured in rows if measured]
            if curves:
                curves_of[label, step] = curves
    window = max(1, min((len(curve) for curves in curves_of.values() for curve in curves), default=1) // SMOOTH)
    for (label, step), curves in curves_of.items():
        last = methods[label][0].config.adaptation_steps
        color, style = _color(label), ":" if step < last else "-"
        for curve in curves:
            axes.plot(*curve.T, style, color=color, alpha=0.3, linewidth=0.8)
        mean = np.mean([curve[: min(map(len, curves))] for curve in curves], axis=0)
        mean = np.lib.stride_tricks.sliding_window_view(mean, window, axis=0).mean(-1)
        words = f"{label}, {'before' if step == 0 else 'after'} adaptation" if last else label
        axes.plot(*mean.T, style, color=color, label=words)
    config = next(iter(methods.values()))[0].config
    metric, title = config.problem.drawn_curve
    if window > 1:
        title = f"{title}, running mean of {window}"
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))  # more numbers of five digits would touch
    axes.set(xlabel="meta-iteration", ylabel=metric.label, title=title)
    if axes.get_legend_handles_labels()[0]:
        _legend(axes)


def adaptation_curves(axes: Axes, methods: dict[str, list[Run]]) -> None:
    """Score over gradient steps on held-out tasks, with 95 % bands, and the published scores dashed.

    Bands are over seeds, or of one seed over its tasks, as the legend says.
    An oracle takes no steps: its score is a line from side to side.
    """
    summaries = {label: pooled(runs) for label, runs in methods.items()}
    last = max(map(len, summaries.values())) - 1
    for label, runs in methods.items():
        summary, color = summaries[label], _color(label)
        steps, marker = np.arange(len(summary)), MARKERS.get(label, "*")
        if len(summary) == 1:
            summary, steps, marker = 2 * summary, np.array([0, last]), ""
        mean, low, high = (np.array([s[name] for s in summary]) for name in ("mean", "low", "high"))
        axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        words = f"{label} ({interval_in_words(len(runs))})"
        axes.plot(steps, mean, marker=marker, color=color, markersize=5, label=words)
        if theirs := published(runs):
            theirs = {0: theirs[0], last: theirs[0]} if list(theirs) == [0] else theirs
            (line,) = axes.plot(list(theirs), list(theirs.values()), "--", marker=marker, color=color)
            line.set(markerfacecolor="white", label=f"{label}, published")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    config = next(iter(methods.values()))[0].config
    if config.problem.score == "loss":  # what diverges leaves the picture
        axes.set_ylim(0, 1.3 * max(summary[0]["mean"] for summary in summaries.values()))
    metric, _ = config.problem.drawn_curve
    axes.set(xlabel="gradient steps", ylabel=metric.label, title="adaptation to held-out tasks")
    _legend(axes)


def command_curves(axes: NDArray[Any], methods: dict[str, list[Commands]]) -> None:
    """One panel per method: what each task's episodes achieved over what it commands, by gradient step."""
    for panel, (label, runs) in zip(axes, methods.items(), strict=True):
        ends = [min(one.wanted.min() for one in runs), max(one.wanted.max() for one in runs)]
        panel.plot(ends, ends, "--", color="black", linewidth=1, label="as commanded")
        last = min(len(one.achieved) for one in runs) - 1
        for step in sorted({0, min(1, last), last}):
            color = STEP_COLORS[min(step, len(STEP_COLORS) - 1)]
            wanted = np.concatenate([one.wanted for one in runs])
            achieved = np.concatenate([one.achieved[step] for one in runs])
            words = _after(step) if last else "no steps"
            marker = {"marker": "x" if step == 0 else "o", "markerfacecolor": color if step == last else "white"}
            panel.plot(wanted, achieved, linestyle="", color=color, markersize=4, label=words, **marker)
        panel.set(xlabel=f"commanded {runs[0].wanted_name}", title=label)
        panel.legend(fontsize=7)
    axes[0].set_ylabel(f"achieved {next(iter(methods.values()))[0].achieved_name}")


def _after(step: int) -> str:
    return "before adaptation" if step == 0 else f"after {step} step{'s' * (step > 1)}"


def _traces(one: Run) -> Traces | None:
    """What MAML left of its evaluation to be drawn: navigation's positions, and supervised examples and outputs."""
    traces = one.traces
    if traces is None:
        return None
    episodes = traces["mask"].shape[3] if "mask" in traces else 0
    drawable = episodes > 0 or ("outputs" in traces and one.label == "maml")
    return traces if drawable else None


def _panels(figure: SubFigure, one: Run, traces: Traces) -> None:
    """A row of tasks with examples, before and after adaptation."""
    last = len(traces["outputs"]) - 1
    tasks = [
        {name: array[:, task] if name == "outputs" else array[task] for name, array in traces.items()}
        for task in range(min(PANELS, traces["outputs"].shape[1]))
    ]
    if one.config.problem.score == "loss":
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            draw_fits(axes, task, sorted({0, min(1, last), last}))
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)
        figure.suptitle(f"{one.label}: fits before and after adaptation", fontsize=11)
    else:
        step = one.config.inner_steps
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            draw_images(axes, task, min(step, last))
        figure.suptitle(f"{one.label}: examples, and queries with predicted labels after adaptation", fontsize=11)


def paths(figure: SubFigure, methods: dict[str, Traces]) -> None:
    """An episode before adaptation and one after each gradient step (paper, figure 4), of tasks x methods."""
    several = len(methods) > 1
    grid = figure.subplots(PANELS, len(methods), sharex=True, sharey=True) if several else figure.subplots(1, PANELS)
    grid = np.asarray(grid).reshape(PANELS, len(methods))
    for column, (label, trace) in zip(grid.T, methods.items(), strict=True):
        observations, mask, tasks = trace["observations"], trace["mask"], trace["tasks"]
        for panel, direction in zip(column, PATH_DIRECTIONS, strict=True):
            task = int((tasks @ np.array(direction)).argmax())
            for step in range(min(len(observations), len(STEP_COLORS))):
                path = observations[step, task, : int(mask[step, task, :, 0].sum()), 0, :2]  # an oracle sees more
                words = _after(step) if len(observations) > 1 else None
                panel.plot(*path.T, color=STEP_COLORS[step], linewidth=1.2, alpha=0.9, label=words)
            panel.plot(*tasks[task], "*", color="#D55E00", markersize=11, label="goal", zorder=5)
            panel.plot(0, 0, "o", color="black", markersize=4, label="start", zorder=5)
            panel.set(aspect="equal", xlim=(-1, 1), ylim=(-1, 1))
        column[0].set_title(label if several else f"{label}: paths", fontsize=10)
    for panel in grid[-1] if several else grid[:, 0]:
        panel.set_xlabel("x [m]")
    for panel in grid[:, 0][: None if several else 1]:
        panel.set_ylabel("y [m]")
    longest = max(methods, key=lambda label: len(methods[label]["observations"]))
    handles, words = grid[0, list(methods).index(longest)].get_legend_handles_labels()
    grid[0 if several else -1, -1].legend(handles, words, loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)


def _legend(axes: Axes) -> None:
    """Below where there are many entries, which would cover the curves."""
    many = len(axes.get_legend_handles_labels()[0]) > 4
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2} if many else {}
    axes.legend(fontsize=8, **below)


def _color(label: str) -> str:
    return COLORS.get(label, "#000000")  # a rare variant
