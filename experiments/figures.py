"""Figures of evaluated runs: learning curves, adaptation curves, and what adaptation looks like in the task itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from experiments.presets import RL_PRESETS
from experiments.published import published_returns, published_scores
from metarl.supervised.pictures import draw_fits, draw_images
from metarl.training.config import Config, RLConfig, SupervisedConfig
from metarl.training.evaluation import summarize

COLORS = {  # Okabe and Ito's palette, safe for the colour-blind
    "maml": "#0072B2",
    "maml, first order": "#56B4E9",
    "maml, meta-sgd": "#CC79A7",
    "pretrained": "#009E73",
    "oracle": "#E69F00",
    "random": "#D55E00",
}
LABELS = {"average_return": "average return", "loss": "mean squared error", "accuracy": "accuracy"}
STEP_COLORS = ("#999999", "#56B4E9", "#0072B2", "#E69F00", "#D55E00")  # before adaptation, then after each step
PATH_DIRECTIONS = ((1, 1), (-1, 1), (1, -1))  # the paths' panels: the test goal farthest in each direction
PANELS = 3  # tasks that are drawn

Traces = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Run:
    """One evaluated run, as it lies on disk."""

    directory: Path
    config: Config
    label: str  # the method and its variant: runs of one label differ in their seeds
    protocol: dict[str, Any]  # of evaluation.json: how the scores were measured
    scores: NDArray[np.float64]  # [K + 1, N] each task's score after each gradient step
    metrics: list[dict[str, float]]  # rows of metrics.csv


def pooled(runs: list[Run]) -> list[dict[str, float]]:
    """Per gradient step, `summarize` over the tasks of a method's runs.

    Runs that share their tasks (the published ones) are averaged over seeds first: their returns on a task are
    correlated, and 40 tasks seen by 3 seeds are not 120 independent values. The seeds themselves are not resampled.
    """
    steps = min(len(one.scores) for one in runs)
    shared = all(isinstance(one.config, RLConfig) and one.config.published_tasks for one in runs)
    join = (lambda values: np.mean(values, axis=0)) if shared else np.concatenate
    return [summarize(join([one.scores[step] for one in runs]), runs[0].config.seed) for step in range(steps)]


def published(runs: list[Run]) -> dict[int, float]:
    """The authors' mean score by gradient step, where these runs are measured as they measured theirs."""
    config = runs[0].config
    if isinstance(config, SupervisedConfig):
        return published_scores(config.dataset, config.network, config.ways, runs[0].protocol["shots"], runs[0].label)
    assert isinstance(config, RLConfig)
    preset = RL_PRESETS[config.preset][1] if config.preset in RL_PRESETS else None
    fields = ("environment", "environment_options", "horizon")
    as_published = preset and all(getattr(config, name) == getattr(preset, name) for name in fields)
    if not (config.published_tasks and config.preset.endswith("-paper") and as_published):
        return {}
    return {step: float(mean) for step, mean in enumerate(published_returns(config.experiment, config.method).mean(1))}


def draw(methods: dict[str, list[Run]]) -> Figure:
    """The whole figure: learning and adaptation curves above, below what MAML's adaptation looks like."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        shown = {label: traces for label, runs in methods.items() if (traces := _traces(runs[0])) is not None}
        heights = [3.6, *(1.8 if methods[label][0].config.score == "accuracy" else 3.0 for label in shown)]
        figure = Figure(figsize=(9.5, sum(heights)), layout="constrained")
        top, *below = figure.subfigures(1 + len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
        learning, adaptation = top.subplots(1, 2)
        learning_curves(learning, methods)
        adaptation_curves(adaptation, methods)
        for panel, (label, traces) in zip(below, shown.items(), strict=True):
            _panels(panel, methods[label][0], traces)
    return figure


def learning_curves(axes: Axes, methods: dict[str, list[Run]]) -> None:
    """Scores over meta-iterations, before and after the inner steps: mean over seeds, each seed thin."""
    for label, runs in methods.items():
        config = runs[0].config
        supervised = isinstance(config, SupervisedConfig)  # scores on validation tasks: those of training are noisy
        curve = f"evaluation/{config.score}" if supervised else config.learning_curve
        last = config.adaptation_steps
        color = _color(label)
        for step, style in ((0, ":"), (last, "-"))[0 if last else 1 :]:
            rows = [[row for row in one.metrics if f"{curve}_step{step}" in row] for one in runs]
            curves = [np.array([(row["iteration"], row[f"{curve}_step{step}"]) for row in one]) for one in rows if one]
            for one in curves:
                axes.plot(*one.T, style, color=color, alpha=0.3, linewidth=0.8)
            if curves:
                length = min(len(one) for one in curves)
                mean = np.mean([one[:length] for one in curves], axis=0)
                words = f"{label}, {'before' if step == 0 else 'after'} adaptation" if last else label
                axes.plot(*mean.T, style, color=color, label=words)
    config = next(iter(methods.values()))[0].config
    title = "validation tasks" if isinstance(config, SupervisedConfig) else "meta-training"
    axes.set(xlabel="meta-iteration", ylabel=LABELS[config.score], title=title)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)


def adaptation_curves(axes: Axes, methods: dict[str, list[Run]]) -> None:
    """Score over gradient steps on held-out tasks, with 95 % bands, and the published scores dashed.

    An oracle takes no steps: its score is a line from side to side.
    """
    summaries = {label: pooled(runs) for label, runs in methods.items()}
    last = max(map(len, summaries.values())) - 1
    for label, runs in methods.items():
        summary, color = summaries[label], _color(label)
        steps, style = np.arange(len(summary)), "o-"
        if len(summary) == 1:
            summary, steps, style = 2 * summary, np.array([0, last]), "-"
        mean, low, high = (np.array([s[name] for s in summary]) for name in ("mean", "low", "high"))
        axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(steps, mean, style, color=color, markersize=4, label=f"{label} ({_seeds(runs)})")
        if theirs := published(runs):
            theirs = {0: theirs[0], last: theirs[0]} if list(theirs) == [0] else theirs
            (line,) = axes.plot(list(theirs), list(theirs.values()), "s--", color=color)
            line.set(markerfacecolor="white", label=f"{label}, published")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    config = next(iter(methods.values()))[0].config
    if config.score == "loss":  # what diverges leaves the picture
        axes.set_ylim(0, 1.3 * max(summary[0]["mean"] for summary in summaries.values()))
    axes.set(xlabel="gradient steps", ylabel=LABELS[config.score], title="adaptation to held-out tasks")
    axes.legend(fontsize=8)


def _traces(one: Run) -> Traces | None:
    """What MAML left of its evaluation to be drawn: navigation's positions, and supervised examples and outputs."""
    drawable = isinstance(one.config, SupervisedConfig) or one.config.experiment == "navigation"
    path = one.directory / "evaluation.npz"
    if not drawable or not path.is_file() or (isinstance(one.config, SupervisedConfig) and one.label != "maml"):
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _panels(figure: SubFigure, one: Run, traces: Traces) -> None:
    """A row of tasks before and after adaptation."""
    if not isinstance(one.config, SupervisedConfig):
        paths(figure.subplots(1, PANELS), traces)
        figure.suptitle(f"{one.label}: paths before and after adaptation", fontsize=11)
        return
    last = len(traces["outputs"]) - 1
    tasks = [
        {name: array[:, task] if name == "outputs" else array[task] for name, array in traces.items()}
        for task in range(min(PANELS, traces["outputs"].shape[1]))
    ]
    if one.config.score == "loss":
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


def paths(axes: NDArray[Any], trace: Traces) -> None:
    """One panel per task: an episode before adaptation and one after each gradient step (paper, figure 4)."""
    observations, mask, tasks = trace["observations"], trace["mask"], trace["tasks"]
    for panel, direction in zip(axes, PATH_DIRECTIONS, strict=True):
        task = int((tasks @ np.array(direction)).argmax())
        for step in range(min(len(observations), len(STEP_COLORS))):
            path = observations[step, task, : int(mask[step, task, :, 0].sum()), 0, :2]  # an oracle sees more
            label = "before" if step == 0 else f"after {step} step{'s' * (step > 1)}"
            panel.plot(*path.T, color=STEP_COLORS[step], linewidth=1.2, alpha=0.9, label=label)
        panel.plot(*tasks[task], "*", color="black", markersize=13, label="goal", zorder=5)
        panel.plot(0, 0, "o", color="black", markersize=4, label="start", zorder=5)
        panel.set(aspect="equal", xlabel="x [m]", ylabel="y [m]", xlim=(-0.8, 0.8), ylim=(-0.8, 0.8))
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)


def _seeds(runs: list[Run]) -> str:
    return f"{len(runs)} seed{'s' * (len(runs) > 1)}"


def _color(label: str) -> str:
    return COLORS.get(label, "#000000")  # a rare variant
