"""Draw runs from what they left on disk: python experiments/plot.py RUN_DIR ... --output FIGURE.png (or .svg, .pdf)."""

import csv
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from experiments.command_line import run
from experiments.presets import PRESETS
from experiments.published import published_returns
from metarl.training.config import Config
from metarl.training.evaluation import summarize
from metarl.training.logger import read_metrics
from metarl.training.run_directory import CONFIG, MAY_CHANGE, METRICS, read_config

COLORS = {"maml": "#0072B2", "random": "#D55E00"}  # Okabe and Ito's palette, safe for the colour-blind
PROTOCOL = ("tasks", "episodes", "counting", "step_sizes", "published_tasks")
SAME = {"environment", "environment_options", "horizon"}  # of methods in one figure
FREE = MAY_CHANGE | {"seed"}  # what seeds of one method may differ in
STEP_COLORS = ("#999999", "#56B4E9", "#0072B2", "#E69F00", "#D55E00")  # before adaptation, then after each step
PATH_DIRECTIONS = ((1, 1), (-1, 1), (1, -1))  # the paths' panels: the test goal farthest in each direction


@dataclass(frozen=True)
class Arguments:
    """Which runs to draw; runs of the same method are averaged over their seeds."""

    run_dirs: tyro.conf.Positional[tuple[Path, ...]]
    """Directories of evaluated runs of one experiment."""
    output: Path
    """The figure's file: .png, .svg or .pdf."""
    table: Path | None = None
    """A .csv file for the numbers behind the adaptation curves."""


@dataclass(frozen=True)
class Run:
    """One evaluated run, as it lies on disk."""

    directory: Path
    config: Config
    protocol: dict[str, Any]  # of evaluation.json: how the returns were measured
    returns: NDArray[np.float64]  # [K + 1, N] average return of each task after each gradient step
    metrics: list[dict[str, float]]  # rows of metrics.csv


def read_run(directory: Path) -> Run:
    """Read one run. Raises ValueError if it is no run, or was not evaluated."""
    config = read_config(directory)
    path = directory / "evaluation.csv"
    if not path.is_file():
        raise ValueError(f"{directory} has no evaluation.csv: run experiments/evaluate.py {directory} first")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = 1 + max(int(row["gradient_steps"]) for row in rows)
    returns = np.array([float(row["average_return"]) for row in rows]).reshape(steps, -1)
    document = json.loads((directory / "evaluation.json").read_text())
    protocol = {name: document[name] for name in PROTOCOL} | {"inner_steps": config.inner_steps}
    return Run(directory, config, protocol, returns, read_metrics(directory / METRICS))


def require_comparable(runs: list[Run]) -> None:
    """Raises ValueError unless all runs are of one preset, each method and seed once, measured by one protocol."""
    first, seen = runs[0], {}
    for one in runs:
        if one.config.preset != first.config.preset:
            raise ValueError(f"one figure shows one preset; got {first.config.preset} and {one.config.preset}")
        identity = (one.config.method, one.config.seed)
        if identity in seen:
            raise ValueError(f"{seen[identity]} and {one.directory} are both {identity[0]}, seed {identity[1]}")
        seen[identity] = one.directory
        same = SAME if one.config.method != first.config.method else set(first.config.to_dict()) - FREE
        ours, theirs = first.config.to_dict(), one.config.to_dict()
        for name in sorted(same):
            if ours[name] != theirs[name] and not name.startswith("evaluation_"):  # the protocol has those
                raise ValueError(
                    f"{first.directory} and {one.directory} cannot be compared: {name} is {ours[name]} in one and "
                    f"{theirs[name]} in the other"
                )
        for name, value in one.protocol.items():
            if value != first.protocol[name]:
                raise ValueError(
                    f"{first.directory} and {one.directory} cannot be compared: {name} is {first.protocol[name]} "
                    f"in one and {value} in the other"
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
        methods[one.config.method].append(one)
    rows = comparison(methods)
    Console().print(comparison_table(runs[0].config.preset, rows))
    Console().print(line_searches(methods))
    if arguments.table:
        arguments.table.parent.mkdir(parents=True, exist_ok=True)
        with arguments.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
    figure = draw(methods)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output, dpi=150)
    Console().print(f"figure: {arguments.output}", highlight=False, soft_wrap=True, markup=False)


def pooled(runs: list[Run]) -> list[dict[str, float]]:
    """Per gradient step, `summarize` over the tasks of a method's runs.

    Runs that share their tasks (the published ones) are averaged over seeds first: their returns on a task are
    correlated, and 40 tasks seen by 3 seeds are not 120 independent values. The seeds themselves are not resampled.
    """
    steps, shared = min(len(one.returns) for one in runs), all(one.config.published_tasks for one in runs)
    join = (lambda values: np.mean(values, axis=0)) if shared else np.concatenate
    return [summarize(join([one.returns[step] for one in runs]), runs[0].config.seed) for step in range(steps)]


def comparison(methods: dict[str, list[Run]]) -> list[dict[str, Any]]:
    """A row per method and gradient step: the return's mean and 95 % interval over tasks, and the published mean."""
    rows = []
    for method, runs in methods.items():
        published = _published(runs).mean(1)
        for step, summary in enumerate(pooled(runs)):
            identity = {"preset": runs[0].config.preset, "method": method, "seeds": len(runs), "gradient_steps": step}
            theirs = {"published": float(published[step]) if step < len(published) else None}
            rows.append(identity | summary | theirs)
    return rows


def comparison_table(preset: str, rows: list[dict[str, Any]]) -> Table:
    """The rows of `comparison`, to be read."""
    table = Table(title=f"{preset}: average return on held-out tasks")
    table.add_column("method")
    any_published = any(row["published"] is not None for row in rows)
    for name in ("seeds", "gradient steps", "mean", "95 % interval", *["published"] * any_published):
        table.add_column(name, justify="right")
    for row in rows:
        if row["gradient_steps"] == 0:
            table.add_section()
        published = ["-" if row["published"] is None else f"{row['published']:.2f}"] * any_published
        interval = f"{row['low']:.2f} .. {row['high']:.2f}"
        steps = str(row["gradient_steps"])
        table.add_row(row["method"], str(row["seeds"]), steps, f"{row['mean']:.2f}", interval, *published)
    return table


def line_searches(methods: dict[str, list[Run]]) -> str:
    """How many outer steps were refused: learning must not stall unseen."""
    counts = []
    for method, runs in methods.items():
        accepted = [row["outer/accepted"] for one in runs for row in one.metrics if "outer/accepted" in row]
        if accepted:
            counts.append(f"{method} {accepted.count(0.0)} of {len(accepted)}")
    return f"rejected line searches: {', '.join(counts) or 'none made'}"


def draw(methods: dict[str, list[Run]]) -> Figure:
    """The whole figure: learning and adaptation curves above, paths below where the task is to reach a goal."""
    traces = {method: _paths(runs[0]) for method, runs in methods.items()}
    traces = {method: trace for method, trace in traces.items() if trace is not None}
    figure = Figure(figsize=(9.5, 3.6 + 3.0 * len(traces)), layout="constrained")
    top, *below = figure.subfigures(1 + len(traces), 1, height_ratios=[3.6] + [3.0] * len(traces), squeeze=False)[:, 0]
    learning, adaptation = top.subplots(1, 2)
    learning_curves(learning, methods)
    adaptation_curves(adaptation, methods)
    for panel, (method, trace) in zip(below, traces.items(), strict=True):
        paths(panel.subplots(1, len(PATH_DIRECTIONS)), trace)
        panel.suptitle(f"{method}: paths before and after adaptation", fontsize=11)
    return figure


def learning_curves(axes: Axes, methods: dict[str, list[Run]]) -> None:
    """Returns over meta-iterations, before and after the inner steps: mean over seeds, each seed thin."""
    for method, runs in methods.items():
        trained = [one for one in runs if one.metrics]
        if not trained:
            continue
        for name, style in (("before", ":"), ("after", "-")):
            key = f"rollout/return_step{0 if name == 'before' else trained[0].config.inner_steps}"
            curves = [np.array([row[key] for row in one.metrics]) for one in trained]
            for curve in curves:
                axes.plot(curve, style, color=COLORS[method], alpha=0.3, linewidth=0.8)
            length = min(len(curve) for curve in curves)
            mean = np.mean([curve[:length] for curve in curves], axis=0)
            axes.plot(mean, style, color=COLORS[method], label=f"{method}, {name} adaptation")
    axes.set(xlabel="meta-iteration", ylabel="average return", title="meta-training")
    axes.legend()


def adaptation_curves(axes: Axes, methods: dict[str, list[Run]]) -> None:
    """Return over gradient steps on held-out tasks, with 95 % bands, and the published curve dashed."""
    for method, runs in methods.items():
        summary = pooled(runs)
        steps = np.arange(len(summary))
        mean, low, high = (np.array([s[name] for s in summary]) for name in ("mean", "low", "high"))
        axes.fill_between(steps, low, high, color=COLORS[method], alpha=0.2, linewidth=0)
        axes.plot(steps, mean, "o-", color=COLORS[method], label=f"{method} ({_seeds(runs)})")
        published = _published(runs)
        if len(published):
            axes.plot(
                published.mean(1), "s--", color=COLORS[method], markerfacecolor="white", label=f"{method}, published"
            )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="gradient steps", ylabel="average return", title="adaptation to held-out tasks")
    axes.legend()


def paths(axes: NDArray[Any], trace: dict[str, NDArray[Any]]) -> None:
    """One panel per task: an episode before adaptation and one after each gradient step (paper, figure 4)."""
    observations, mask, tasks = trace["observations"], trace["mask"], trace["tasks"]
    for panel, direction in zip(axes, PATH_DIRECTIONS, strict=True):
        task = int((tasks @ np.array(direction)).argmax())
        for step in range(min(len(observations), len(STEP_COLORS))):
            path = observations[step, task, : int(mask[step, task, :, 0].sum()), 0]
            label = "before" if step == 0 else f"after {step} step{'s' * (step > 1)}"
            panel.plot(*path.T, color=STEP_COLORS[step], linewidth=1.2, alpha=0.9, label=label)
        panel.plot(*tasks[task], "*", color="black", markersize=13, label="goal", zorder=5)
        panel.plot(0, 0, "o", color="black", markersize=4, label="start", zorder=5)
        panel.set(aspect="equal", xlabel="x [m]", ylabel="y [m]", xlim=(-0.8, 0.8), ylim=(-0.8, 0.8))
    axes[-1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)


def _seeds(runs: list[Run]) -> str:
    return f"{len(runs)} seed{'s' * (len(runs) > 1)}"


def _published(runs: list[Run]) -> NDArray[np.float64]:
    """The authors' returns of this experiment and method, for runs that were evaluated on their tasks."""
    config = runs[0].config
    preset = PRESETS[config.preset][1] if config.preset in PRESETS else None
    as_published = preset and all(getattr(config, name) == getattr(preset, name) for name in SAME)
    published = config.published_tasks and config.preset.endswith("-paper") and as_published
    return published_returns(config.experiment, config.method) if published else np.zeros((0, 40))


def _paths(one: Run) -> dict[str, NDArray[Any]] | None:
    """The traces of a navigation run, whose observations are positions; None elsewhere or without traces."""
    if one.config.experiment != "navigation" or not (one.directory / "evaluation.npz").is_file():
        return None
    with np.load(one.directory / "evaluation.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(lambda args: tyro.cli(Arguments, prog="experiments/plot.py", description=__doc__, args=args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
