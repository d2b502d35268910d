"""What reference pages say of the code: scripts, options, parts, presets, metrics and comparisons of methods."""

import dataclasses
import importlib
import sys
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import tyro
from generated_tables import docstring, flag_rows, options_table, sentence, table, value_words

from metarl.engine.outer import OUTERS
from metarl.engine.rules import RULES
from metarl.engine.schedules import SCHEDULES
from metarl.experiments.catalogue.comparison import Comparison, Method
from metarl.experiments.catalogue.method_comparisons import METHODS as COMPARISONS
from metarl.experiments.console import COMMANDS
from metarl.experiments.presets.configuration import METHOD_OPTIONS, PRESETS
from metarl.experiments.presets.training_arguments import Script, parse
from metarl.metrics import Metric
from metarl.parts import Registry
from metarl.problems import PROBLEMS
from metarl.rl import episode_metrics
from metarl.rl.baselines import BASELINES
from metarl.rl.environments import ENVIRONMENTS
from metarl.rl.inner_losses import INNER_LOSSES
from metarl.rl.normalizers import NORMALIZATIONS
from metarl.rl.outer_losses import OUTER_LOSSES
from metarl.rl.policies import POLICIES
from metarl.supervised import metrics as supervised_metrics
from metarl.supervised.datasets import DATASETS
from metarl.supervised.networks import NETWORKS
from metarl.supervised.outer_losses import OUTER_LOSSES as SUPERVISED_OUTER_LOSSES
from metarl.training import loop
from metarl.training.config import Adaptation, HeldOut, Training, Watching
from metarl.training.flags import reference
from metarl.training.tree import flat

SCRIPTS = (*COMMANDS, "study", "compare", "readme")
# Options that do not change what a comparison measures, or that its command names.
UNCOMPARED = {
    *("preset", "method", "seed", "device", "grace", "max_nonfinite", "problem", "threads", "compile", "cache_dir"),
    *("observations_in_training", "actions_in_training", "published_tasks"),
    *("evaluation_episodes", "evaluation_counting", "evaluation_transductive"),
    *(field.name for kind in (HeldOut, Watching) for field in dataclasses.fields(kind)),
}
REGISTRIES: dict[str, Registry[Any]] = {  # heading on the page of parts -> its parts
    "Inner rules": RULES,
    "Outer optimisers": OUTERS,
    "Schedules of the learning rate": SCHEDULES,
    "Policies": POLICIES,
    "Inner losses": INNER_LOSSES,
    "Outer losses of reinforcement learning": OUTER_LOSSES,
    "Outer losses of supervised learning": SUPERVISED_OUTER_LOSSES,
    "Baselines of the returns": BASELINES,
    "Normalizations of observations": NORMALIZATIONS,
    "Networks": NETWORKS,
    "Datasets": DATASETS,
}


def scripts() -> str:
    """The scripts with their own arguments."""
    return "\n".join(map(_script, SCRIPTS))


def _script(name: str) -> str:
    module = importlib.import_module(f"metarl.experiments.{name}")
    kind = Script if name == "train" else module.Arguments
    hints = typing.get_type_hints(kind, include_extras=True)
    positional = {name for name, hint in hints.items() if tyro.conf.Positional in typing.get_args(hint)[1:]}
    rows = []
    for flag, *others in reference(kind):
        field = flag.removeprefix("--").replace("-", "_")
        rows.append([f"`{field.upper() if field in positional else flag}`", *others])
    if name == "train":
        rows.insert(0, ["`PRESET`", "word", "required", "One of the presets, or none with `--resume --run-dir RUN`."])
    first, _, rest = (module.__doc__ or "").partition("\n")
    return f"## `{name}.py`\n\n{first}\n{rest}\n{options_table(rows)}"


def training() -> str:
    """The options that every run has, in their groups."""
    groups = (Training, Adaptation, HeldOut, Watching)
    return "\n".join(f"### {sentence(kind)}\n\n{options_table(flag_rows(kind))}" for kind in groups)


def problems() -> str:
    """The kinds of problem with the options that are theirs."""
    return "\n".join(_part(PROBLEMS, name, "###") for name in PROBLEMS.names)


def parts() -> str:
    """Every registered part, but environments, with its options."""
    return "\n".join(_registry(title, registry) for title, registry in REGISTRIES.items())


def _registry(title: str, registry: Registry[Any]) -> str:
    flag = registry.kind.replace("_", "-")
    chosen = f"Chosen by `--{flag} NAME`; `--{flag} MODULE:NAME` takes one of your own."
    return "\n".join([f"## {title}\n\n{chosen}\n", *(_part(registry, name, "###") for name in registry.names)])


def _part(registry: Registry[Any], name: str, level: str) -> str:
    kind = registry.find(name)
    return f"{level} `{name}`\n\n{docstring(kind)}\n\n{options_table(flag_rows(kind))}"


def presets() -> str:
    """The presets with what they set."""
    return "\n".join(_preset(name) for name in PRESETS)


def _preset(name: str) -> str:
    preset = PRESETS[name]
    flags = {option: value for option, value in preset.options.items() if option != "problem"}
    rows = [[f"`--{option.replace('_', '-')}`", f"`{value_words(value)}`"] for option, value in flags.items()]
    text = f"## `{name}`\n\n{preset.description}.\n\n{table(['option', 'value'], rows)}"
    for variant in preset.variants:
        text += (
            f"\nWhere `--{variant.option}` {variant.condition} it has {_given(variant.options)}: {variant.reason}.\n"
        )
    for (of, method), options in METHOD_OPTIONS.items():
        if of == name:
            text += f"\n`--method {method}` has {_given(options)}.\n"
    return text


def _given(options: Mapping[str, Any]) -> str:
    return ", ".join(f"`--{option.replace('_', '-')} {value_words(value)}`" for option, value in options.items())


def metrics() -> str:
    """Every declared metric."""
    outers = (OUTERS.find(name)().build().measures for name in OUTERS.names)
    tables = {
        "Reinforcement learning": episode_metrics.MEASURES,
        "Supervised learning": _union(*map(supervised_metrics.measures, ("regression", "classification"))),
        "The outer step": _union(*outers),
        "Time": loop.MEASURES,
    }
    return "\n".join(f"## {title}\n\n{_metrics(declared)}" for title, declared in tables.items())


def _union(*tables: Iterable[Metric]) -> list[Metric]:
    """The metrics of all tables, each name once."""
    return list({metric.name: metric for table in tables for metric in table}.values())


def _metrics(declared: Iterable[Metric]) -> str:
    better = {None: "", True: "higher", False: "lower"}
    rows = [[f"`{metric.name}`", metric.meaning, metric.unit, better[metric.higher_is_better]] for metric in declared]
    return table(["metric", "meaning", "unit", "better"], rows)


def environments() -> str:
    """The families by the file that they are in, with the tables of their docstrings."""
    by_module: dict[str, list[str]] = {}
    for name in ENVIRONMENTS.names:
        by_module.setdefault(ENVIRONMENTS.find(name).__module__, []).append(name)
    return "\n".join(_environments(module, names) for module, names in by_module.items())


def _environments(module: str, names: list[str]) -> str:
    head, _, rest = (sys.modules[module].__doc__ or module).partition("\n")
    text = [f"## {head.split(' (')[0].split(':')[0].removesuffix('.')}\n\n{head}\n{rest}\n"]
    return "\n".join([*text, *(_part(ENVIRONMENTS, name, "###") for name in names)])


def compared() -> str:
    """The comparisons of methods: what all runs of one share, and the settings of each method."""
    return "\n".join(_comparison(name) for name in COMPARISONS)


def _comparison(name: str) -> str:
    comparison = COMPARISONS[name].comparison
    assert comparison is not None
    first, *others = (_compared_options(comparison, method) for method in comparison.methods)
    shared = {option for option, value in first.items() if all(own.get(option, "") == value for own in others)}
    rows = []
    for method, own in zip(comparison.methods, [first, *others], strict=True):
        known = shared if own is first else {option for option, value in own.items() if first.get(option, "") == value}
        words = ", ".join(f"{option} {value}" for option, value in own.items() if option not in known)
        rows.append([method.words, f"`{method.flags}`" if method.flags else "", words, method.source])
    seeds = " ".join(map(str, comparison.seeds))
    command = f"`train.py {comparison.preset} {comparison.shared} --seed N`, N of {seeds}"
    common = ", ".join(f"{option} {value}" for option, value in first.items() if option in shared)
    rest = table(["method", "flags", f"options other than {comparison.methods[0].words}'s", "from"], rows)
    return f"### `{name}`\n\nAll runs: {command}.\n\n{rest}\nIn common: {common}.\n"


def _compared_options(comparison: Comparison, method: Method) -> dict[str, str]:
    """The options of a method's runs that decide what it learns, in words."""
    config = parse([comparison.preset, *comparison.flags(method, comparison.seeds[0]).split()]).config
    return {option: value_words(value) for option, value in flat(config).items() if option not in UNCOMPARED}
