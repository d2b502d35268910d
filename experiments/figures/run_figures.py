"""Figures of evaluated runs: learning curves, adaptation curves, and what adaptation looks like in the task itself."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.figures.comparable_runs import OUTSIDE, grouped, split_by_training
from metarl.experiments.figures.curve_points import WORDS, XAxis, points
from metarl.experiments.figures.evaluated_runs import Run, interval_in_words, pooled, published
from metarl.experiments.figures.task_scores import draws_tasks, score_by_task
from metarl.extras import needs
from metarl.supervised.pictures import draw_fits, draw_images

with needs("plots", "figures"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.ticker import MaxNLocator

COLORS = {  # Okabe and Ito's palette, safe for the colour-blind
    "maml": "#0072B2",
    "maml, first order": "#56B4E9",
    "Meta-SGD": "#CC79A7",
    "pretrained": "#009E73",
    "oracle": "#E69F00",
    "random": "#D55E00",
}
OTHERS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")  # the same, for any label
OTHER_MARKERS = ("o", "^", "s", "D", "v", "P", "X")
MARKERS = {"maml": "o", "maml, first order": "v", "Meta-SGD": "P", "pretrained": "^", "random": "D"}
STEP_COLORS = ("#999999", "#5EC962", "#21918C", "#3B528B", "#440154")  # before adaptation, after each step: viridis
PATH_DIRECTIONS = ((1, 1), (-1, 1), (1, -1))  # the paths' panels: the test goal farthest in each direction
PANELS = 3  # tasks that are drawn
MOST_COLUMNS = 4  # labels that are drawn side by side
SMOOTH = 50  # the thick learning curves are running means over an n-th of the shortest one

Traces = dict[str, NDArray[Any]]


def draw(methods: dict[str, list[Run]], x: XAxis = "iterations") -> Figure:
    """The whole figure: learning and adaptation curves above, below what MAML's adaptation looks like.

    Args:
        methods: runs by their label; those in progress have no scores yet.
        x: what the learning curves are drawn over.
    """
    scored = grouped(split_by_training([run for runs in methods.values() for run in runs]))
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        below = _lower_parts(methods)
        heights = [4.2 if len(methods) > 1 else 3.4, *(height for height, _ in below)]
        figure = Figure(figsize=(9.5, sum(heights)))
        figure.set_layout_engine("constrained", w_pad=0.1)
        top, *lower = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        panels = top.subplots(1, 2 if scored else 1, squeeze=False)[0]
        styles = _styles([*methods, *scored])
        learning_curves(panels[0], methods, styles, x)
        if scored:
            adaptation_curves(panels[1], scored, styles)
        for part, (_, drawn) in zip(lower, below, strict=True):
            drawn(part)
    return figure


def _lower_parts(methods: dict[str, list[Run]]) -> list[tuple[float, Callable[[SubFigure], None]]]:
    """What is drawn below the curves: heights [inches], and what draws. Of many labels there is no room for paths."""
    parts: list[tuple[float, Callable[[SubFigure], None]]] = []
    if outside := {label: runs for label, runs in methods.items() if any(map(draws_tasks, runs))}:
        parts.append((3.2, functools.partial(score_by_task, methods=outside, styles=_styles(list(methods)))))
    alone = len(methods) == 1
    shown = {label: traces for label, runs in methods.items() if (traces := _traces(runs[0], alone=alone)) is not None}
    navigation = {label: traces for label, traces in shown.items() if "mask" in traces}
    for label, traces in shown.items():
        if label not in navigation:
            run = methods[label][0]
            height = 1.8 if run.config.problem.score == "accuracy" else 3.0
            parts.append((height, functools.partial(_panels, run=run, traces=traces)))
    if 0 < len(navigation) <= MOST_COLUMNS:
        parts.append((6.6 if len(navigation) > 1 else 2.6, functools.partial(paths, methods=navigation)))
    commands = {label: [run for run in runs if run.commands] for label, runs in methods.items()}
    if (commands := {label: runs for label, runs in commands.items() if runs}) and len(commands) <= MOST_COLUMNS:
        parts.append((3.0, functools.partial(command_curves, methods=commands)))
    return parts


def _styles(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of every label. Scores of tasks outside training look like those inside, but are hollow."""
    own = list(dict.fromkeys(label.removesuffix(OUTSIDE) for label in labels))
    free = [label for label in own if label not in COLORS]
    if len(free) > len(OTHERS):
        shades = [to_hex(shade) for shade in mpl.colormaps["viridis"](np.linspace(0, 0.9, len(free)))]
    else:
        shades = list(OTHERS)
    styles = {label: (COLORS[label], MARKERS.get(label, "*")) for label in own if label in COLORS}
    for i, label in enumerate(free):
        styles[label] = (shades[i], OTHER_MARKERS[i % len(OTHER_MARKERS)])
    return styles | {f"{label}{OUTSIDE}": style for label, style in styles.items()}


def learning_curves(
    axes: Axes, methods: dict[str, list[Run]], styles: Mapping[str, tuple[str, str]], x: XAxis = "iterations"
) -> None:
    """Scores during meta-training, before and after the inner steps: running mean over seeds, each seed thin."""
    curves_of: dict[tuple[str, int], list[NDArray[np.float64]]] = {}
    for label, runs in methods.items():
        config = runs[0].config
        metric, _ = config.problem.drawn_curve
        for step in sorted({0, config.adaptation_steps}):
            curves = [points(run, metric.at(step), x) for run in runs]
            if curves := [curve for curve in curves if len(curve)]:
                curves_of[label, step] = curves
    window = max(1, min((len(curve) for curves in curves_of.values() for curve in curves), default=1) // SMOOTH)
    for (label, step), curves in curves_of.items():
        last = methods[label][0].config.adaptation_steps
        color, _ = styles[label]
        style = ":" if step < last else "-"
        for curve in curves:
            axes.plot(*curve.T, style, color=color, alpha=0.3, linewidth=0.8)
        mean = np.mean([curve[: min(map(len, curves))] for curve in curves], axis=0)
        mean = np.lib.stride_tricks.sliding_window_view(mean, window, axis=0).mean(-1)
        words = f"{label}, {'before' if step == 0 else 'after'} adaptation" if last else label
        axes.plot(*mean.T, style, color=color, label=f"{words}{_unfinished(methods[label])}")
    config = next(iter(methods.values()))[0].config
    metric, title = config.problem.drawn_curve
    if window > 1:
        title = f"{title}, running mean of {window}"
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=x == "iterations"))  # more numbers of five digits would touch
    axes.set(xlabel=WORDS[x], ylabel=metric.label, title=title)
    if axes.get_legend_handles_labels()[0]:
        _legend(axes)


def _unfinished(runs: list[Run]) -> str:
    """The progress of the run that is furthest behind, in words; "" where all are finished."""
    made, planned = min((run.progress for run in runs), key=lambda progress: progress[0] - progress[1])
    return f" ({made} of {planned})" if 0 < made < planned else ""


def adaptation_curves(axes: Axes, methods: dict[str, list[Run]], styles: Mapping[str, tuple[str, str]]) -> None:
    """Score over gradient steps on held-out tasks, with 95 % bands, and the published scores dashed.

    Bands are over seeds, or of one seed over its tasks, as the legend says.
    An oracle takes no steps: its score is a line from side to side. Tasks outside training have a line of their own,
    dash-dotted with hollow markers.
    """
    summaries = {label: pooled(runs) for label, runs in methods.items()}
    last = max(map(len, summaries.values())) - 1
    for label, runs in methods.items():
        summary = summaries[label]
        color, marker = styles[label]
        steps = np.arange(len(summary))
        if len(summary) == 1:
            summary = 2 * summary
            steps = np.array([0, last])
            marker = ""
        mean, low, high = (np.array([s[name] for s in summary]) for name in ("mean", "low", "high"))
        axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        words = f"{label} ({interval_in_words(len(runs))})"
        (line,) = axes.plot(steps, mean, marker=marker, color=color, markersize=5, label=words)
        if label.endswith(OUTSIDE):
            line.set(linestyle="-.", markerfacecolor="white")
        if theirs := published(runs):
            theirs = {0: theirs[0], last: theirs[0]} if list(theirs) == [0] else theirs
            (line,) = axes.plot(list(theirs), list(theirs.values()), "--", marker=marker, color=color)
            line.set(markerfacecolor="white", label=f"{label}, published")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    run = next(iter(methods.values()))[0]
    if run.config.problem.score == "loss":  # what diverges leaves the picture
        axes.set_ylim(0, 1.3 * max(summary[0]["mean"] for summary in summaries.values()))
    title = "adaptation to held-out tasks, 95 % bands" if run.inside is None else "adaptation to the tasks of a file"
    metric, _ = run.config.problem.drawn_curve
    axes.set(xlabel="gradient steps", ylabel=metric.label, title=title)
    _legend(axes)


def command_curves(figure: SubFigure, methods: dict[str, list[Run]]) -> None:
    """One panel per method: what each task's episodes achieved over what it commands, by gradient step.

    Tasks outside training are squares.
    """
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for panel, (label, runs) in zip(panels, methods.items(), strict=True):
        commands = [run.commands for run in runs if run.commands]
        wanted = np.concatenate([run.wanted for run in commands])
        panel.plot(
            [wanted.min(), wanted.max()],
            [wanted.min(), wanted.max()],
            "--",
            color="black",
            linewidth=1,
            label="as commanded",
        )
        outside = np.concatenate([_outside(run) for run in runs])
        last = min(len(run.achieved) for run in commands) - 1
        for step in sorted({0, min(1, last), last}):
            color = STEP_COLORS[min(step, len(STEP_COLORS) - 1)]
            achieved = np.concatenate([run.achieved[step] for run in commands])
            look: dict[str, Any] = {
                "linestyle": "",
                "color": color,
                "markerfacecolor": color if step == last else "white",
            }
            marker = "x" if step == 0 else "o"
            words = _after(step) if last else "no steps"
            panel.plot(wanted[~outside], achieved[~outside], marker=marker, markersize=4, label=words, **look)
            if outside.any():
                words = f"{words}{OUTSIDE}"
                panel.plot(wanted[outside], achieved[outside], marker="s", markersize=5, label=words, **look)
        panel.set(xlabel=f"commanded {commands[0].wanted_name}", title=label)
        panel.legend(fontsize=7)
        panels[0].set_ylabel(f"achieved {commands[0].achieved_name}")


def _outside(run: Run) -> NDArray[np.bool_]:
    """Which of a run's tasks training may not draw, [N]."""
    return np.zeros(run.scores.shape[1], np.bool_) if run.inside is None else ~run.inside


def _after(step: int) -> str:
    return "before adaptation" if step == 0 else f"after {step} step{'s' if step > 1 else ''}"


def _traces(run: Run, *, alone: bool) -> Traces | None:
    """What MAML left of its evaluation to be drawn: navigation's positions, and supervised examples and outputs."""
    traces = run.traces
    if traces is None:
        return None
    episodes = traces["mask"].shape[3] if "mask" in traces else 0
    drawable = episodes > 0 or (
        "outputs" in traces and (run.label == "maml" or (alone and run.config.method == "maml"))
    )
    return traces if drawable else None


def _panels(figure: SubFigure, run: Run, traces: Traces) -> None:
    """A row of tasks with examples, before and after adaptation."""
    last = len(traces["outputs"]) - 1
    tasks = [
        {name: array[:, task] if name == "outputs" else array[task] for name, array in traces.items()}
        for task in range(min(PANELS, traces["outputs"].shape[1]))
    ]
    if run.config.problem.score == "loss":
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for axes, task in zip(panels, tasks, strict=True):
            draw_fits(axes, task, sorted({0, min(1, last), last}))
        panels[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)
        figure.suptitle(f"{run.label}: fits before and after adaptation", fontsize=11)
    else:
        step = run.config.inner_steps
        for axes, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
            draw_images(axes, task, min(step, last))
        figure.suptitle(f"{run.label}: examples, and queries with predicted labels after adaptation", fontsize=11)


def paths(figure: SubFigure, methods: dict[str, Traces]) -> None:
    """An episode before adaptation and one after each gradient step (paper, figure 4), of tasks x methods."""
    several = len(methods) > 1
    # The goals of training are within 0.5; a file may have others.
    ends = max(1.0, *(1.1 * float(np.abs(trace["tasks"]).max()) for trace in methods.values()))
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
            panel.set(aspect="equal", xlim=(-ends, ends), ylim=(-ends, ends))
        column[0].set_title(label if several else f"{label}: paths", fontsize=10)
    for panel in grid[-1] if several else grid[:, 0]:
        panel.set_xlabel("x [m]")
    for panel in grid[:, 0][: None if several else 1]:
        panel.set_ylabel("y [m]")
    longest = max(methods, key=lambda label: len(methods[label]["observations"]))
    handles, words = grid[0, list(methods).index(longest)].get_legend_handles_labels()
    grid[0 if several else -1, -1].legend(handles, words, loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)


def _legend(axes: Axes) -> None:
    """Draw the legend, below the axes where it has so many entries that it would cover the curves."""
    many = len(axes.get_legend_handles_labels()[0]) > 4
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2} if many else {}
    axes.legend(fontsize=8, **below)
