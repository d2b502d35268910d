"""Evaluated runs as they lie on disk, made ready for tables and figures, and their means."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.engine.rules import RULES
from metarl.experiments.commands.started_command import command_of
from metarl.experiments.presets.configuration import preset_config
from metarl.experiments.presets.published import published_returns, published_scores
from metarl.parts import MAY_CHANGE
from metarl.reading import reading
from metarl.starting_folder import from_start
from metarl.tasks import numbered_names
from metarl.training.callbacks.csv import read_metrics
from metarl.training.checkpoint import load
from metarl.training.config import Config
from metarl.training.evaluation_files import PER_TASK, SUMMARY, TRACES, read_scores, read_summary, read_traces
from metarl.training.run_directory import METRICS, NAMED, read_config
from metarl.training.statistics import interval_is_over, summarize
from metarl.training.tree import flat, leaves

TASKS = ("environment", "horizon", "dataset")  # options that make the tasks, with those of these parts


class Commands(NamedTuple):
    """What tasks commanded, and what was achieved, such as velocities."""

    wanted: NDArray[np.float64]  # [N]
    achieved: NDArray[np.float64]  # [K + 1, N]
    wanted_name: str
    achieved_name: str

    def of(self, chosen: NDArray[np.bool_]) -> "Commands":
        """Keep the tasks for which `chosen` [N] is true."""
        return self._replace(wanted=self.wanted[chosen], achieved=self.achieved[:, chosen])


@dataclass(frozen=True)
class Run:
    """One evaluated run, as it lies on disk."""

    directory: Path
    config: Config
    label: str  # see `label_of`, or the value of a setting: runs of one label differ in their seeds
    protocol: dict[str, Any]  # of evaluation.json: how the scores were measured; {} where they were not
    scores: NDArray[np.float64]  # [K + 1, N] each task's score after each gradient step; [0, 0]: not evaluated
    metrics: list[dict[str, float]]  # rows of metrics.csv
    commands: Commands | None = None  # of tasks that command a value
    traces: dict[str, NDArray[Any]] | None = None  # evaluation.npz
    tasks: NDArray[np.float64] | None = None  # [N, k]
    inside: NDArray[np.bool_] | None = None  # [N] of tasks of one's own: which of them training may draw
    evaluation: Path | None = None  # the directory of the evaluation; None: not evaluated
    scored: int | None = None  # after how many outer steps the parameters were, that were evaluated; None: not known

    @property
    def is_evaluated(self) -> bool:
        """Whether there are scores."""
        return len(self.scores) > 0

    @property
    def progress(self) -> tuple[int, int]:
        """Outer steps made, as far as they are logged, and to make in all."""
        if not self.metrics:
            return 0, self.config.outer_steps
        last = self.metrics[-1]
        return int(last["iteration"]) + ("outer/nonfinite" in last), self.config.outer_steps

    def of(self, chosen: NDArray[np.bool_], label: str) -> "Run":
        """The same with the scores of some tasks, [N] of truth values, under another label."""
        return dataclasses.replace(
            self,
            label=label,
            scores=self.scores[:, chosen],
            tasks=None if self.tasks is None else self.tasks[chosen],
            inside=None if self.inside is None else self.inside[chosen],
            commands=self.commands and self.commands.of(chosen),
        )


def pooled(runs: list[Run]) -> list[dict[str, float]]:
    """Per gradient step, `summarize` of a method's runs."""
    steps = min(len(run.scores) for run in runs)
    seed = runs[0].config.seed
    return [summarize(np.stack([run.scores[step] for run in runs]), seed) for step in range(steps)]


def interval_in_words(seeds: int) -> str:
    """What the intervals of so many runs are over, to stand beside them: `3 seeds`, or `1 seed, over tasks`."""
    return f"{seeds} seed{'s' if seeds > 1 else ''}" + (", over tasks" if interval_is_over(seeds) == "tasks" else "")


def published(runs: list[Run]) -> dict[int, float]:
    """The authors' mean score by gradient step, where these runs are measured as they measured theirs."""
    return published_of(runs[0].config, runs[0].protocol, runs[0].label)


def published_of(config: Config, protocol: Mapping[str, Any], label: str) -> dict[int, float]:
    """The authors' mean score of a method, by its label, where a run is measured by a protocol as theirs was."""
    values = flat(config)
    if "dataset" in values:
        if not protocol.get("transductive", True):
            return {}
        return published_scores(values["dataset"], values["network"], values.get("ways", 1), protocol["shots"], label)
    if not (protocol.get("published_tasks") and config.preset.endswith("-paper") and label == config.method):
        return {}
    preset = preset_config(config.preset, config.method)
    if not (task_options(preset) == task_options(config) and preset.protocol.items() <= protocol.items()):
        return {}
    return {step: float(mean) for step, mean in enumerate(published_returns(config.experiment, config.method).mean(1))}


def task_options(config: Config) -> dict[str, Any]:
    """The options that make the tasks."""
    return {
        leaf.option.name: leaf.value
        for leaf in leaves(config)
        if (leaf.option.name in TASKS or leaf.title.startswith(("environment ", "dataset ")))
        and MAY_CHANGE not in leaf.option.markers
    }


def read_run(directory: Path, evaluation: str = "") -> Run:
    """Read one run.

    Args:
        directory: the run's.
        evaluation: the folder in it that holds the evaluation, such as `tasks-far`; "": that of the test tasks, which
            lies in the run's directory itself.

    Raises:
        ValueError: it is no run, was not evaluated and is not in progress either, or its evaluation is damaged.
    """
    config = read_config(from_start(directory))
    directory = from_start(directory)  # a module of the user's may move the process
    place = directory / evaluation
    unevaluated = Run(directory, config, label_of(config), {}, np.zeros((0, 0)), read_metrics(directory / METRICS))
    for name in (PER_TASK, SUMMARY):
        if not (place / name).is_file():
            made, planned = unevaluated.progress
            if not evaluation and 0 < made < planned:
                return unevaluated
            command = f"{command_of('evaluate')} {shlex.quote(str(directory))}"
            flag = "--validation" if evaluation == "validation" else "--task-file"
            words = f"run {command} first" if not evaluation else f"evaluate.py makes one by {flag}"
            raise ValueError(f"{place} has no {name}: {words}")
    document = read_summary(place)
    scores = read_scores(place)

    def column(name: str) -> NDArray[np.float64]:
        if name not in scores:
            raise ValueError(f"{place / PER_TASK} has no column {name}: run {command_of('evaluate')} again")
        return scores[name]

    split = document.get("split", "test")
    wanted = "file" if evaluation else "test"
    if split != wanted:
        right = "figures are of test tasks" if wanted == "test" else "--evaluation is for tasks of a file"
        raise ValueError(f"{place} was evaluated on {split} tasks: {right}")
    protocol = {name: document.get(name, value) for name, value in config.protocol.items()}
    protocol |= {"checkpoint": document["checkpoint"], "inner_steps": config.inner_steps}
    tasks = _tasks(config, column)
    return dataclasses.replace(
        unevaluated,
        protocol=protocol,
        scores=column(config.problem.score),
        commands=_commands(config, scores, tasks),
        traces=_drawn(place),
        tasks=tasks,
        inside=column("in_distribution")[0].astype(np.bool_) if "in_distribution" in scores else None,
        evaluation=place,
        scored=document.get("iteration"),
    )


def replaced_since(run: Run) -> str | None:
    """Say that a run has other parameters than those that were evaluated; None where nothing is known of others."""
    if run.scored is None:
        return None
    which = run.protocol["checkpoint"]
    path = from_start(run.directory) / NAMED[which]
    try:
        now = load(path).iteration
    except ValueError:
        # A run that is kept for its figures may have no checkpoint.
        return None
    if now == run.scored:
        return None
    return (
        f"{run.directory}: its scores are of iteration {run.scored}, its {which} parameters of {now}: evaluate it anew"
    )


def _drawn(directory: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays that an evaluation left for figures; None if it left none. Raises ValueError for other shapes."""
    traces = read_traces(directory)
    if traces is None:
        return None
    with reading(directory / TRACES, "what an evaluation leaves to be drawn"):
        if "mask" in traces and not (traces["mask"].ndim == 4 and traces["observations"].ndim == 5):
            raise ValueError("its mask must be [K + 1, N, T, E], its observations [K + 1, N, T, E, O]")
        if "outputs" in traces and traces["outputs"].ndim < 2:
            raise ValueError("its outputs must be [K + 1, N, ...]")
    return traces


def _tasks(config: Config, column: Callable[[str], NDArray[np.float64]]) -> NDArray[np.float64] | None:
    """The tasks [N, k], where they are numbers."""
    names = config.problem.task_names
    return np.stack([column(name)[0] for name in numbered_names(len(names))], axis=1) if names else None


def _commands(
    config: Config, scores: Mapping[str, NDArray[np.float64]], tasks: NDArray[np.float64] | None
) -> Commands | None:
    """What tasks [N, k] command, where that is a value and something was achieved."""
    wanted = None if tasks is None else config.problem.commanded(tasks)
    # Nothing was achieved where all episodes broke.
    if wanted is None or "achieved" not in scores:
        return None
    return Commands(wanted, scores["achieved"], config.problem.task_names[0], config.problem.achieved_name)


def label_of(config: Config) -> str:
    """What a run is called in figures and tables: its method, or the algorithm that the rule makes of MAML."""
    if config.method != "maml":
        return config.method
    algorithm = config.rule.algorithm or f"maml, {RULES.name_of(config.rule)}"
    return f"{algorithm}, first order" if config.first_order else algorithm
