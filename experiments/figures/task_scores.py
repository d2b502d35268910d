"""Figures of scores by task, for tasks from a file of which some lie outside the distribution of training.

Axes: N tasks, k numbers of a task.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.figures.evaluated_runs import Run
from metarl.extras import needs
from metarl.rl.environments import TaskDistribution

with needs("plots", "figures"):
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import SubFigure

GRID = 200  # points along an axis, at which is asked where training draws tasks
MARGIN = 0.05  # of the range of the tasks, around them
TRAINING = "#EEEEEE"


def draws_tasks(run: Run) -> bool:
    """Whether a run was scored on tasks outside training, of one or two numbers, which can be drawn."""
    return run.inside is not None and not run.inside.all() and run.tasks is not None and run.tasks.shape[1] <= 2


def score_by_task(figure: SubFigure, methods: dict[str, list[Run]], styles: Mapping[str, tuple[str, str]]) -> None:
    """The score of each task: over its number, or as the colour of its two numbers; where training draws is grey.

    Tasks of one number share a panel with the scores before (crosses) and after adaptation; of two numbers each label
    has a panel with those after adaptation.
    """
    first = next(iter(methods.values()))[0]
    assert first.tasks is not None
    if first.tasks.shape[1] == 1:
        _over_a_number(figure.subplots(), methods, styles)
    else:
        _over_two_numbers(figure, methods)
    figure.suptitle("score by task; grey: where training draws its tasks", fontsize=11)


def _over_a_number(axes: Axes, methods: dict[str, list[Run]], styles: Mapping[str, tuple[str, str]]) -> None:
    run = next(iter(methods.values()))[0]
    ends = _ends(_tasks_of(methods)[:, 0])
    grid = np.linspace(*ends, GRID)
    inside = _distribution(run).in_distribution(grid[:, None])
    axes.fill_between(
        grid, 0, 1, where=inside.tolist(), transform=axes.get_xaxis_transform(), color=TRAINING, linewidth=0
    )
    for label, runs in methods.items():
        color, marker = styles[label]
        tasks = np.concatenate([cast(Any, run).tasks[:, 0] for run in runs])
        order = np.argsort(tasks, kind="stable")
        for step, style, sign in ((0, ":", "x"), (-1, "-", marker)):
            scores = np.concatenate([run.scores[step] for run in runs])
            words = f"{label}, {'before' if step == 0 else 'after'} adaptation" if len(run.scores) > 1 else label
            axes.plot(tasks[order], scores[order], style, marker=sign, color=color, markersize=4, label=words)
            if len(run.scores) == 1:
                break
    axes.set(xlabel=_names(run)[0], ylabel=run.config.problem.score.replace("_", " "), xlim=ends)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.02, 1.0))


def _over_two_numbers(figure: SubFigure, methods: dict[str, list[Run]]) -> None:
    panels = figure.subplots(1, len(methods), sharex=True, sharey=True, squeeze=False)[0]
    tasks = _tasks_of(methods)
    scores = np.concatenate([run.scores[-1] for runs in methods.values() for run in runs])
    x, y = (np.linspace(*_ends(tasks[:, i]), GRID) for i in range(2))
    grid = np.stack(np.meshgrid(x, y), -1)
    run = next(iter(methods.values()))[0]
    inside = _distribution(run).in_distribution(grid.reshape(-1, 2)).reshape(GRID, GRID)
    shades = Normalize(scores.min(), scores.max())
    for panel, (label, runs) in zip(panels, methods.items(), strict=True):
        panel.contourf(x, y, inside, levels=[0.5, 1.5], colors=[TRAINING])
        colors = np.concatenate([run.scores[-1] for run in runs])
        panel.scatter(*_tasks_of({label: runs}).T, c=colors, norm=shades, s=24, edgecolors="black", linewidths=0.5)
        panel.set(title=label, xlabel=_names(run)[0], aspect="equal")
    panels[0].set_ylabel(_names(run)[1])
    figure.colorbar(
        ScalarMappable(shades), ax=panels, label=f"{run.config.problem.score.replace('_', ' ')} after adaptation"
    )


def _tasks_of(methods: dict[str, list[Run]]) -> NDArray[np.float64]:
    return np.concatenate([cast(Any, run).tasks for runs in methods.values() for run in runs])


def _distribution(run: Run) -> TaskDistribution:
    return cast(Any, run.config.problem).environment.tasks


def _names(run: Run) -> tuple[str, ...]:
    return run.config.problem.task_names


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    """The limits of an axis that shows all values, with a margin."""
    margin = MARGIN * (np.ptp(values) or 1.0)
    return float(values.min() - margin), float(values.max() + margin)
