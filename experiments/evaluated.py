"""Evaluated runs as they lie on disk, made ready for tables and figures: which may share one, and their means."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metarl.experiments.command_line import command_of
from metarl.experiments.presets import preset_config
from metarl.experiments.published import published_returns, published_scores
from metarl.parts import MAY_CHANGE
from metarl.reading import reading
from metarl.training.callbacks.csv import read_metrics
from metarl.training.config import Config
from metarl.training.evaluation_files import PER_TASK, SUMMARY, TRACES, read_scores, read_summary, read_traces
from metarl.training.run_directory import METRICS, read_config
from metarl.training.statistics import interval_is_over, summarize
from metarl.training.tree import flat, leaves, may_change, recorded

TASKS = ("environment", "horizon", "dataset")  # options that make the tasks, with those of these parts


class Commands(NamedTuple):
    """What tasks commanded, and what was achieved, such as velocities."""

    wanted: NDArray[np.float64]  # [N]
    achieved: NDArray[np.float64]  # [K + 1, N]
    wanted_name: str
    achieved_name: str


@dataclass(frozen=True)
class Run:
    """One evaluated run, as it lies on disk."""

    directory: Path
    config: Config
    label: str  # the method and its variant: runs of one label differ in their seeds
    protocol: dict[str, Any]  # of evaluation.json: how the scores were measured
    scores: NDArray[np.float64]  # [K + 1, N] each task's score after each gradient step
    metrics: list[dict[str, float]]  # rows of metrics.csv
    commands: Commands | None = None  # of tasks that command a value
    traces: dict[str, NDArray[Any]] | None = None  # evaluation.npz


def pooled(runs: list[Run]) -> list[dict[str, float]]:
    """Per gradient step, `summarize` of a method's runs."""
    steps, seed = min(len(one.scores) for one in runs), runs[0].config.seed
    return [summarize(np.stack([one.scores[step] for one in runs]), seed) for step in range(steps)]


def interval_in_words(seeds: int) -> str:
    """What the intervals of so many runs are over, to stand beside them: `3 seeds`, or `1 seed, over tasks`."""
    return f"{seeds} seed{'s' * (seeds > 1)}" + (", over tasks" if interval_is_over(seeds) == "tasks" else "")


def published(runs: list[Run]) -> dict[int, float]:
    """The authors' mean score by gradient step, where these runs are measured as they measured theirs."""
    config = runs[0].config
    protocol = runs[0].protocol
    label = runs[0].label
    values = flat(config)
    if "dataset" in values:
        return published_scores(values["dataset"], values["network"], values.get("ways", 1), protocol["shots"], label)
    if not (protocol.get("published_tasks") and config.preset.endswith("-paper") and label == config.method):
        return {}
    preset = preset_config(config.preset, config.method)
    if not (_tasks(preset) == _tasks(config) and preset.protocol.items() <= protocol.items()):
        return {}
    return {step: float(mean) for step, mean in enumerate(published_returns(config.experiment, config.method).mean(1))}


def _tasks(config: Config) -> dict[str, Any]:
    """The options that make the tasks."""
    return {
        leaf.option.name: leaf.value
        for leaf in leaves(config)
        if (leaf.option.name in TASKS or leaf.title.startswith(("environment ", "dataset ")))
        and MAY_CHANGE not in leaf.option.markers
    }


def read_run(directory: Path) -> Run:
    """Read one run. Raises ValueError if it is no run, was not evaluated, or its evaluation is damaged."""
    config = read_config(directory)
    for name in (PER_TASK, SUMMARY):
        if not (directory / name).is_file():
            command = f"{command_of('evaluate')} {shlex.quote(str(directory))}"
            raise ValueError(f"{directory} has no {name}: run {command} first")
    document, scores = read_summary(directory), read_scores(directory)

    def column(name: str) -> NDArray[np.float64]:
        if name not in scores:
            raise ValueError(f"{directory / PER_TASK} has no column {name}: run {command_of('evaluate')} again")
        return scores[name]

    if (split := document.get("split", "test")) != "test":
        raise ValueError(f"{directory} was evaluated on {split} tasks: figures are of test tasks")
    protocol = {name: document.get(name, value) for name, value in config.protocol.items()}
    protocol |= {"checkpoint": document["checkpoint"], "inner_steps": config.inner_steps}
    return Run(
        directory,
        config,
        _label(config),
        protocol,
        column(config.problem.score),
        read_metrics(directory / METRICS),
        _commands(config, column),
        _drawn(directory),
    )


def _drawn(directory: Path) -> dict[str, NDArray[Any]] | None:
    """What an evaluation left to be drawn, if it did. Raises ValueError where that is not what is drawn."""
    traces = read_traces(directory)
    if traces is None:
        return None
    with reading(directory / TRACES, "what an evaluation leaves to be drawn"):
        if "mask" in traces and not (traces["mask"].ndim == 4 and traces["observations"].ndim == 5):
            raise ValueError("its mask must be [K + 1, N, T, E], its observations [K + 1, N, T, E, O]")
        if "outputs" in traces and traces["outputs"].ndim < 2:
            raise ValueError("its outputs must be [K + 1, N, ...]")
    return traces


def _commands(config: Config, column: Callable[[str], NDArray[np.float64]]) -> Commands | None:
    """What the tasks command, where that is a value."""
    names = config.problem.task_names
    if not names:
        return None
    tasks = np.stack([column(f"task_{i}")[0] for i in range(len(names))], axis=1)
    wanted = config.problem.commanded(tasks)
    if wanted is None:
        return None
    return Commands(wanted, column("achieved"), config.problem.task_names[0], config.problem.achieved_name)


def _label(config: Config) -> str:
    """The method, with what makes it a variant."""
    rule = flat(config)["rule"]
    variants = [*(["first order"] if config.first_order else []), *([] if rule == "sgd" else [rule])]
    return ", ".join([config.method, *(variants if config.method == "maml" else [])])


def require_comparable(runs: list[Run]) -> None:
    """Raises ValueError unless all runs are of one preset, each method and seed once, measured by one protocol."""
    first = runs[0]
    seen = {}
    for one in runs:
        if one.config.preset != first.config.preset:
            raise ValueError(f"one figure shows one preset; got {first.config.preset} and {one.config.preset}")
        identity = (one.label, one.config.seed)
        if identity in seen:
            raise ValueError(f"{seen[identity]} and {one.directory} are both {identity[0]}, seed {identity[1]}")
        seen[identity] = one.directory
        first_alike = next(other for other in runs if other.label == one.label)
        _require_equal_values(first, one, _tasks(first.config), _tasks(one.config))
        ours, theirs = flat(first_alike.config), flat(one.config)
        free = may_change(one.config) | recorded(one.config) | {"seed"}  # what seeds of one method may differ in
        _require_equal_values(
            *(first_alike, one),
            {name: value for name, value in ours.items() if name not in free},
            {name: value for name, value in theirs.items() if name not in free},
        )
        for name, value in one.protocol.items():
            other = first_alike if name in ("step_sizes", "checkpoint") else first  # each method has its own
            _require_equal(other, one, name, other.protocol[name], value)


def _require_equal_values(first: Run, one: Run, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in sorted({*ours, *theirs}):
        _require_equal(first, one, name, ours.get(name), theirs.get(name))


def _require_equal(first: Run, one: Run, name: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        raise ValueError(
            f"{first.directory} and {one.directory} cannot be compared: {name} is {ours} in one and {theirs} in the "
            "other"
        )
