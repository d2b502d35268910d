"""The arguments of train.py: a preset, flags that change it, and where the run is written."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from metarl.arguments import path_of
from metarl.experiments.commands.command_line import require_paths, with_homes
from metarl.experiments.commands.started_command import described, program
from metarl.experiments.presets.configuration import PRESETS, preset_config, variants_of
from metarl.experiments.presets.options import Variant, require_preset
from metarl.experiments.presets.published import require_published
from metarl.rl.environments import ENVIRONMENTS
from metarl.training import flags
from metarl.training.config import Config
from metarl.training.help_texts import paragraphs
from metarl.training.run_directory import CONFIG, read_config
from metarl.training.tree import flat, with_options


@dataclass(frozen=True)
class Script:
    """Where the run is written, and what it starts from."""

    run_dir: Path | None = None
    """Directory of the run. Default: runs/PRESET-METHOD-seedN."""
    resume: bool = False
    """Go on with the run in that directory, from its last checkpoint and with its configuration. Flags that are given
    as well are compared with the configuration. Where the directory holds no run, a preset begins one, and says so."""
    initial_parameters: Path | None = None
    """Start from the best parameters of the run in this directory, or from those in this file (a checkpoint, or an
    agent), instead of fresh ones."""
    callback: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A callback of your own, as MODULE:NAME, a class or a function that is called without arguments. May be given
    several times."""


class Arguments(NamedTuple):
    """What to train, and the script's own arguments."""

    config: Config
    script: Script
    idle: tuple[str, ...] = ()  # options that were given although the method does not use them
    notes: tuple[str, ...] = ()  # what the preset has otherwise because of what was given


def parse(argv: Sequence[str], description: str = "") -> Arguments:
    """Read the command line: a preset with flags, or a run to go on with.

    Args:
        argv: words of the command line.
        description: what `--help` says of the script.

    Raises:
        ValueError: a preset, part or option is unknown or missing, or an option means nothing for the method.
    """
    preset = argv[0] if argv and not argv[0].startswith("-") else None
    rest = argv[1:] if preset else argv
    if preset is None and ("--help" in rest or "-h" in rest):
        show_presets(description)
        raise SystemExit(0)
    method = flags.value_of(rest, "method") or "maml"
    stored = _stored(preset, method, rest)
    if preset is None and stored is None and (nothing := _nothing_to_resume(rest)):
        raise ValueError(f"{nothing}: name its directory, or a preset to begin one")
    if preset is None and stored is None:
        raise ValueError(f"name a preset first: {', '.join(PRESETS)}; or go on with a run: --resume --run-dir RUN")
    if preset is not None and stored is not None and preset != stored.preset:
        raise ValueError(f"that run is one of {stored.preset}; got {preset}")

    def make(choices: dict[str, str]) -> Config:
        if stored is not None:
            return with_options(stored, choices)
        own = _of_the_environment(preset or "", choices, rest)
        return preset_config(preset or "", method, {**choices, **own}, variants)

    variants = () if stored is not None else variants_of(preset or "", lambda name: flags.value_of(rest, name))
    named = f"{program('train')} {preset or ''}".strip()
    parsed = flags.parse(make, Script, rest, program=named, description=described("train", description))
    require_paths(parsed.script, rest)
    _require_meaning(parsed)
    idle = tuple(sorted(parsed.given & parsed.config.idle))
    return Arguments(parsed.config, with_homes(parsed.script), idle, tuple(_words_of(variants, parsed)))


def _words_of(variants: Sequence[Variant], parsed: flags.Parsed) -> Iterator[str]:
    """Say what variants of the preset changed, a line each, of the options that the run has and that were not given."""
    values = flat(parsed.config)
    for variant in variants:
        changed = [name for name in variant.options if name in values and name not in parsed.given]
        if changed:
            settings = ", ".join(f"{name} is {values[name]}" for name in changed)
            others = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
            choose = "chooses another" if len(changed) == 1 else "choose others"
            yield f"{settings} because --{variant.option} {variant.condition}: {variant.reason}; {others} {choose}"


def _of_the_environment(preset: str, choices: Mapping[str, str], argv: Sequence[str]) -> dict[str, Any]:
    """The options of the environment that a command line gives. What policy fits it may depend on them."""
    require_preset(preset)
    name = choices.get("environment", PRESETS[preset].options.get("environment"))
    return flags.options_given(ENVIRONMENTS.find(str(name)), argv) if name is not None else {}


def _require_meaning(parsed: flags.Parsed) -> None:
    """Raise ValueError for a given option that has no effect, or for published tasks that do not exist."""
    config = parsed.config
    if idle := sorted(parsed.given & set(config.without_effect)):
        raise ValueError(f"--{idle[0].replace('_', '-')} means nothing for {config.without_effect[idle[0]]}")
    if config.outer_steps:
        config.require_learned()
    if config.problem.protocol.get("published_tasks"):
        require_published(config)


def _nothing_to_resume(argv: Sequence[str]) -> str:
    """A message where a command line goes on in a directory that holds no run; "" where nothing is wrong."""
    place = flags.value_of(argv, "run_dir")
    return without_run(path_of("run_dir", place)) if place and _resumes(argv) else ""


def without_run(run_dir: Path) -> str:
    """Say that a directory holds no run to go on with, and which run's name is close to its, if any is."""
    folder = run_dir.parent
    others = [path.parent.name for path in folder.glob(f"*/{CONFIG}")] if folder.is_dir() else []
    near = difflib.get_close_matches(run_dir.name, others, 1)
    return f"{run_dir} holds no run to go on with" + (f" ({folder / near[0]} does)" if near else "")


def _resumes(argv: Sequence[str]) -> bool:
    return "resume" in flags.names_given(argv) and "--no-resume" not in argv


def _stored(preset: str | None, method: str, argv: Sequence[str]) -> Config | None:
    """The configuration of the run that the command line goes on with; None if it starts a new one."""
    if flags.value_of(argv, "run_dir"):
        run_dir = path_of("run_dir", flags.value_of(argv, "run_dir"))
    else:
        run_dir = default_run_dir(preset or "", method, flags.value_of(argv, "seed") or "1")
    return read_config(run_dir) if _resumes(argv) and (run_dir / CONFIG).is_file() else None


def default_run_dir(preset: str, method: str, seed: object) -> Path:
    """The directory of a run if none is given."""
    return Path("runs") / f"{preset}-{method}-seed{seed}"


def show_presets(description: str) -> None:
    """Print what the script is for, and the presets, one a line."""
    table = Table(box=None, show_header=False)
    for name, preset in PRESETS.items():
        table.add_row(name, preset.description)
    console = Console()
    words = paragraphs(described("train", description))
    console.print(f"{words}\n\npresets:", highlight=False, markup=False)
    console.print(table)
