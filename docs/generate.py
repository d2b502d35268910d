"""Write reference pages from the code: a line `<!-- generate WHAT -->` in a page becomes what a function here returns.

`setup` makes this a Sphinx extension; `filled` is the same without Sphinx, for the tests.
"""

import csv
import dataclasses
import functools
import importlib
import inspect
import json
import re
import statistics
import subprocess
import sys
import textwrap
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import tyro
from docutils import nodes
from sphinx.application import Sphinx

from metarl.engine.outer import OUTERS
from metarl.engine.rules import RULES
from metarl.engine.schedules import SCHEDULES
from metarl.experiments.comparison import Comparison, Method
from metarl.experiments.methods import METHODS as COMPARISONS
from metarl.experiments.presets import BASELINES, PRESETS
from metarl.experiments.train import parse
from metarl.metrics import Metric
from metarl.parts import Registry
from metarl.problems import PROBLEMS
from metarl.rl import measuring
from metarl.rl.baselines import BASELINES as REWARD_BASELINES
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

ROOT = Path(__file__).resolve().parents[1]
MARKER = re.compile(r"^<!-- generate ([\w -]+) -->$", re.MULTILINE)
SIGNATURE = re.compile(r"^(\w+\(.*?\) -> \S+(?: \S+)*?) {2,}(\S.*)$")
RESULTS = ROOT / "experiments" / "results"
KEPT = {  # preset -> the run of MAML that is nearest to it
    "navigation-paper": "navigation-paper/maml-seed1",
    "cheetah-vel": "cheetah-vel/maml-seed1",
    "cheetah-dir": "cheetah-dir/maml-seed1",
    "cheetah-vel-paper": "cheetah-vel-paper/gauss-newton-seed1",
    "cheetah-dir-paper": "cheetah-dir-paper/gauss-newton-seed1",
    "sinusoid": "sinusoid/maml-10shot",
    "omniglot-5way-1shot": "omniglot/5way-1shot",
    "omniglot-5way-5shot": "omniglot/5way-5shot",
}
SCRIPTS = ("train", "evaluate", "plot", "render", "reproduce", "benchmark", "study", "compare", "readme")
# Options that do not change what a comparison measures, or that its command names.
UNCOMPARED = {
    *("preset", "method", "seed", "device", "grace", "max_nonfinite", "problem", "threads", "compile", "cache_dir"),
    *("observations_in_training", "actions_in_training", "published_tasks"),
    *("evaluation_episodes", "evaluation_counting", "evaluation_transductive"),
    *(field.name for kind in (HeldOut, Watching) for field in dataclasses.fields(kind)),
}
METHODS: dict[str, Registry[Any]] = {
    "Inner rules": RULES,
    "Outer optimisers": OUTERS,
    "Schedules of the learning rate": SCHEDULES,
    "Policies": POLICIES,
    "Inner losses": INNER_LOSSES,
    "Outer losses of reinforcement learning": OUTER_LOSSES,
    "Outer losses of supervised learning": SUPERVISED_OUTER_LOSSES,
    "Baselines of the returns": REWARD_BASELINES,
    "Normalizations of observations": NORMALIZATIONS,
    "Networks": NETWORKS,
    "Datasets": DATASETS,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Have Sphinx fill every page when it is read, and read the pages that show the code each time."""
    app.connect("source-read", _read)
    app.connect("env-get-outdated", _outdated)
    app.connect("autodoc-process-docstring", _signatures)
    app.connect("doctree-read", _colons)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = filled(source[0])


def _outdated(app: Sphinx, *_: object) -> list[str]:
    pages = [page for page in app.env.found_docs if MARKER.search(Path(app.env.doc2path(page)).read_text())]
    return [page for page in pages if page in app.env.all_docs]


def _signatures(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Make a list of lines such as `init(theta) -> state      what it is`, which docstrings align in columns."""
    lines[:] = [SIGNATURE.sub(r"* ``\1``: \2", line) for line in lines]


def _colons(app: Sphinx, document: nodes.document) -> None:
    """Put a colon between an argument and its meaning, where Sphinx leaves two hyphens."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- " and text.parent is not None:
            text.parent.replace(text, nodes.Text(": "))


def filled(page: str) -> str:
    """The page with its markers replaced.

    Raises:
        ValueError: a marker of something that is not generated.
    """
    return MARKER.sub(lambda match: _generated(match[1]), page)


def _generated(what: str) -> str:
    name, *words = what.split()
    if name not in GENERATORS:
        raise ValueError(f"a page asks for {what!r}; generated are {', '.join(GENERATORS)}")
    return GENERATORS[name](*words)


def scripts() -> str:
    """The scripts with their own arguments."""
    return "\n".join(map(_script, SCRIPTS))


def _script(name: str) -> str:
    module = importlib.import_module(f"metarl.experiments.{name}")
    kind = module.Script if name == "train" else module.Arguments
    hints = typing.get_type_hints(kind, include_extras=True)
    positional = {name for name, hint in hints.items() if tyro.conf.Positional in typing.get_args(hint)[1:]}
    rows = []
    for flag, *others in reference(kind):
        field = flag.removeprefix("--").replace("-", "_")
        rows.append([f"`{field.upper() if field in positional else flag}`", *others])
    if name == "train":
        rows.insert(0, ["`PRESET`", "word", "required", "One of the presets, or none with `--resume --run-dir RUN`."])
    first, _, rest = (module.__doc__ or "").partition("\n")
    return f"## `{name}.py`\n\n{first}\n{rest}\n{_options(rows)}"


def training() -> str:
    """The options that every run has, in their groups."""
    groups = (Training, Adaptation, HeldOut, Watching)
    return "\n".join(f"### {_sentence(kind)}\n\n{_options(_flags(kind))}" for kind in groups)


def problems() -> str:
    """The kinds of problem with the options that are theirs."""
    return "\n".join(_part(PROBLEMS, name, "###") for name in PROBLEMS.names)


def parts() -> str:
    """Every registered part, but environments, with its options."""
    return "\n".join(_registry(title, registry) for title, registry in METHODS.items())


def _registry(title: str, registry: Registry[Any]) -> str:
    flag = registry.kind.replace("_", "-")
    chosen = f"Chosen by `--{flag} NAME`; `--{flag} MODULE:NAME` takes one of your own."
    return "\n".join([f"## {title}\n\n{chosen}\n", *(_part(registry, name, "###") for name in registry.names)])


def _part(registry: Registry[Any], name: str, level: str) -> str:
    kind = registry.find(name)
    return f"{level} `{name}`\n\n{_words(kind)}\n\n{_options(_flags(kind))}"


def presets() -> str:
    """The presets with what they set."""
    return "\n".join(_preset(name) for name in PRESETS)


def _preset(name: str) -> str:
    preset = PRESETS[name]
    flags = {option: value for option, value in preset.options.items() if option != "problem"}
    rows = [[f"`--{option.replace('_', '-')}`", f"`{_value(value)}`"] for option, value in flags.items()]
    text = f"## `{name}`\n\n{preset.description}.\n\n{_table(['option', 'value'], rows)}"
    for variant in preset.variants:
        text += (
            f"\nWith `--{variant.option}` below {variant.below} it has {_given(variant.options)}: {variant.reason}.\n"
        )
    for (of, method), options in BASELINES.items():
        if of == name:
            text += f"\n`--method {method}` has {_given(options)}.\n"
    return text


def _given(options: Mapping[str, Any]) -> str:
    return ", ".join(f"`--{option.replace('_', '-')} {_value(value)}`" for option, value in options.items())


def costs() -> str:
    """What training by a preset takes and comes to, of those that were timed or of which a run is kept."""
    rows = []
    for name, preset in PRESETS.items():
        iterations = preset.options.get("iterations", Training.iterations)
        # The benchmark's iterations are TRPO's.
        own = [row["total"] for row in _timed() if row["preset"] == name and preset.options["outer"] == "trpo"]
        timed = own[0] if own else None
        if timed is not None:
            rows.append([f"`{name}`", f"{timed:.2g} s", _hours(timed * iterations), f"{iterations:,}", "", "", ""])
        if name in KEPT:
            done, seconds = _trained(RESULTS / KEPT[name])
            steps = json.loads((RESULTS / KEPT[name] / "evaluation.json").read_text())["steps"]
            times = [f"`{name}`", f"{seconds:.2g} s", _hours(seconds * iterations), f"{iterations:,}"]
            until = f", up to iteration {done:,}" if done < 0.9 * iterations else ""
            rows.append([*times, *map(_score, steps[:2]), f"`{KEPT[name]}`{until}"])
    head = ["preset", "an iteration", "all of them", "iterations", "before adaptation", "after one step", "run"]
    return _table(head, rows)


@functools.cache
def _timed() -> list[dict[str, Any]]:
    """Iterations that `benchmark.py iteration` timed; of each preset with its own outer step first."""
    return json.loads((RESULTS / "benchmark_iteration.json").read_text())["iteration"]


def optimisers() -> str:
    """Returns of `cheetah-dir` after one step on the tasks of training, by timesteps: the preset, and without its parts."""
    millions = (1, 2, 4, 6, 8)
    settings = {
        "the preset": "cheetah-dir/maml-seed*",
        "its last layer starts as the paper's": "cheetah-dir-plain-head/maml-seed*",
        "TRPO, and the same": "cheetah-dir-trpo/trpo-seed*",
    }
    rows = [
        [words, path.parent.name.rpartition("seed")[2], *(f"{_near(path, million):.0f}" for million in millions)]
        for words, runs in settings.items()
        for path in sorted(RESULTS.glob(f"{runs}/metrics.csv"))
    ]
    return _table(["settings", "seed", *(f"{m} M" for m in millions)], rows)


def _near(metrics: Path, million: int) -> float:
    """The mean return after one step of the iterations within 0.4 million timesteps of some millions."""
    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    near = [row for row in rows if abs(float(row["env_steps"]) - million * 1e6) <= 4e5]
    return statistics.mean(float(row["rollout/return_step1"]) for row in near)


def _trained(run_dir: Path) -> tuple[int, float]:
    """The last iteration of a kept run whose metrics are kept, and the seconds of the median one."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["time/iteration"]]
    return int(rows[-1]["iteration"]), statistics.median(float(row["time/iteration"]) for row in rows)


def _score(step: dict[str, Any]) -> str:
    """The headline score of an evaluation after some gradient steps."""
    name = next(name for name in ("average_return", "accuracy", "loss") if name in step)
    mean = step[name]["mean"]
    return f"{mean:.1%}" if name == "accuracy" else f"{mean:.3g} ({name.replace('average_', '')})"


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f}&nbsp;min" if seconds < 2 * 3600 else f"{seconds / 3600:.0f}&nbsp;h"


def metrics() -> str:
    """Every declared metric."""
    outers = (OUTERS.find(name)().build().measures for name in OUTERS.names)
    tables = {
        "Reinforcement learning": measuring.MEASURES,
        "Supervised learning": _union(*map(supervised_metrics.measures, ("regression", "classification"))),
        "The outer step": _union(*outers),
        "Time": loop.MEASURES,
    }
    return "\n".join(f"## {title}\n\n{_metrics(table)}" for title, table in tables.items())


def _union(*tables: Iterable[Metric]) -> list[Metric]:
    """The metrics of all tables, each name once."""
    return list({metric.name: metric for table in tables for metric in table}.values())


def _metrics(table: Iterable[Metric]) -> str:
    better = {None: "", True: "higher", False: "lower"}
    rows = [[f"`{one.name}`", one.meaning, one.unit, better[one.higher_is_better]] for one in table]
    return _table(["metric", "meaning", "unit", "better"], rows)


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


def runs(experiment: str) -> str:
    """What the published runs of an experiment were made with."""
    rows = []
    for path in sorted((RESULTS / experiment).glob("*/config.json")):
        document = json.loads(path.read_text())
        config, commit = document["config"], document.get("git_commit") or ""
        size = [str(config["seed"]), f"{config['iterations']:,}"]
        made = [_date(commit), document["versions"]["metarl"], f"`{commit[:10]}`"]
        rows.append([f"`{path.parent.name}`", config["method"], *size, *made])
    return _table(["run", "method", "seed", "iterations", "source of", "version", "commit"], rows)


def compared() -> str:
    """The comparisons of methods: what all runs of one share, and the settings of each method."""
    return "\n".join(_comparison(name) for name in COMPARISONS)


def _comparison(name: str) -> str:
    comparison = COMPARISONS[name].comparison
    assert comparison is not None
    first, *others = (_compared_options(comparison, method) for method in comparison.methods)
    shared = {option for option, value in first.items() if all(one.get(option, "") == value for one in others)}
    rows = []
    for method, own in zip(comparison.methods, [first, *others], strict=True):
        known = shared if own is first else {option for option, value in own.items() if first.get(option, "") == value}
        words = ", ".join(f"{option} {value}" for option, value in own.items() if option not in known)
        rows.append([method.words, f"`{method.flags}`" if method.flags else "", words, method.source])
    seeds = " ".join(map(str, comparison.seeds))
    command = f"`train.py {comparison.preset} {comparison.shared} --seed N`, N of {seeds}"
    common = ", ".join(f"{option} {value}" for option, value in first.items() if option in shared)
    table = _table(["method", "flags", f"options other than {comparison.methods[0].words}'s", "from"], rows)
    return f"### `{name}`\n\nAll runs: {command}.\n\n{table}\nIn common: {common}.\n"


def _compared_options(comparison: Comparison, method: Method) -> dict[str, str]:
    """The options of a method's runs that decide what it learns, in words."""
    config = parse([comparison.preset, *comparison.flags(method, comparison.seeds[0]).split()]).config
    return {option: _value(value) for option, value in flat(config).items() if option not in UNCOMPARED}


@functools.cache
def _date(commit: str) -> str:
    """The day of a commit; empty where git does not know it."""
    git = ["git", "-C", str(ROOT), "show", "--no-patch", "--format=%cs", commit or "none"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _flags(kind: type) -> list[list[str]]:
    return [[f"`{flag}`", *others] for flag, *others in reference(kind)]


def _options(rows: list[list[str]]) -> str:
    if not rows:
        return "It has no options.\n"
    return _table(["option", "type", "default", "meaning"], rows)


def _table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(head), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(words: str) -> str:
    """Words that stay as they are in a cell: no column, and no emphasis unless they are code."""
    words = " ".join(words.split()).replace("|", r"\|")
    return words if words.startswith("`") else words.replace("*", r"\*")


def _words(kind: type) -> str:
    """The docstring of a class, as it stands in its own source."""
    return textwrap.dedent(inspect.cleandoc(kind.__doc__ or ""))


def _sentence(kind: type) -> str:
    return _words(kind).splitlines()[0].removesuffix(".")


def _value(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


GENERATORS: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        *(scripts, training, problems, parts, presets, costs, optimisers, metrics, environments, runs, compared),
    )
}
