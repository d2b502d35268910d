"""Which evaluated runs may share a figure: seeds of one method, methods of one preset, values of one option."""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metarl.experiments.figures.evaluated_runs import Run, task_options
from metarl.training.tree import flat, may_change, recorded, registries

OUTSIDE = ", outside training"  # how labels of tasks end that training may not draw
VARIANT = ("rule", "first_order")  # options that a label of a method names already


def by_setting(runs: Sequence[Run], option: str) -> list[Run]:
    """The runs with the value of an option as their label, in the order of the values.

    Raises:
        ValueError: no run has such an option.
    """
    known = list(dict.fromkeys(name for run in runs for name in flat(run.config)))
    name = option.replace("-", "_")
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"--by must be an option of the runs, such as inner_step_size; got {option}{hint}")
    heads = [run.config.method if name in VARIANT else run.label for run in runs]
    several = len(set(heads)) > 1 and name != "method"
    labelled = []
    for run, head in zip(runs, heads, strict=True):
        values = flat(run.config)
        words = f"{name} {_shown(values[name])}" if name in values else head
        labelled.append(dataclasses.replace(run, label=f"{head}, {words}" if several and name in values else words))
    return sorted(labelled, key=lambda run: _order(flat(run.config).get(name)))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) or "()" if isinstance(value, tuple) else str(value)


def _order(value: Any) -> tuple[bool, float, str]:
    """Numbers by their size, before all else by its name."""
    is_number = isinstance(value, (int, float))
    return not is_number, float(value) if is_number else 0.0, str(value)


def require_comparable(runs: Sequence[Run], by: str | None = None) -> None:
    """Raise ValueError unless runs are of one preset, each label and seed once, and measured by one protocol.

    Args:
        runs: of one figure. Those of one label may differ in the seed alone.
        by: an option in which runs of one method may differ, and, where it is the choice of a part, in the options that
            only one of the parts has.
    """
    by = by and by.replace("-", "_")
    first = runs[0]
    seen = {}
    for run in runs:
        if run.config.preset != first.config.preset:
            raise ValueError(f"one figure shows one preset; got {first.config.preset} and {run.config.preset}")
        identity = (run.label, run.config.seed)
        if identity in seen:
            raise ValueError(f"{seen[identity]} and {run.directory} are both {identity[0]}, seed {identity[1]}")
        seen[identity] = run.directory
        _require_alike(first, run, task_options(first.config), task_options(run.config), by)
        alike = next(other for other in runs if other.label == run.label)
        _require_alike(alike, run, flat(alike.config), flat(run.config), None)
        if by is not None:
            alike = next(other for other in runs if other.config.method == run.config.method)
            _require_alike(alike, run, flat(alike.config), flat(run.config), by)
    scored = [run for run in runs if run.is_evaluated]
    for run in scored:
        alike = next(other for other in scored if other.label == run.label)
        _require_same_protocol(scored[0], alike, run, by)


def _require_alike(first: Run, run: Run, ours: Mapping[str, Any], theirs: Mapping[str, Any], by: str | None) -> None:
    """Raise ValueError where options differ that neither a resume nor `by` may change."""
    free = may_change(run.config) | recorded(run.config) | {"seed"} | ({by} if by else set())
    if by in registries(run.config):
        free |= ours.keys() ^ theirs.keys()
    for name in sorted({*ours, *theirs} - free):
        _require_equal(first, run, name, ours.get(name), theirs.get(name))


def _require_same_protocol(first: Run, first_alike: Run, run: Run, by: str | None) -> None:
    """Raise ValueError where scores were not measured alike, or not on the same tasks of a file."""
    for name, value in run.protocol.items():
        other = first_alike if name in ("step_sizes", "checkpoint") else first  # each method has its own
        if name != by:
            _require_equal(other, run, name, other.protocol[name], value)
    if run.inside is not None and not np.array_equal(np.asarray(first.tasks), np.asarray(run.tasks)):
        raise ValueError(f"{first.evaluation} and {run.evaluation} cannot be compared: their tasks are not the same")


def _require_equal(first: Run, run: Run, name: str, ours: object, theirs: object) -> None:
    if ours != theirs:
        hint = f"; --by {name} compares runs that differ in it" if name in flat(first.config) else ""
        raise ValueError(
            f"{first.directory} and {run.directory} cannot be compared: {name} is {ours} in one and {theirs} in the "
            f"other{hint}"
        )


def split_by_training(runs: Sequence[Run]) -> list[Run]:
    """Evaluated runs; those with tasks outside the distribution of training twice: those inside, and those outside."""
    parts = []
    for run in runs:
        if not run.is_evaluated:
            continue
        if run.inside is None or run.inside.all():
            parts.append(run)
            continue
        if run.inside.any():
            parts.append(run.of(run.inside, run.label))
        parts.append(run.of(~run.inside, f"{run.label}{OUTSIDE}"))
    return parts


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by their labels."""
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.label, []).append(run)
    return methods
