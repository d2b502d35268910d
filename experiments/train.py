"""Meta-train: python experiments/train.py PRESET [flags]. PRESET --help shows every flag with its default.

Where the values of a flag end in MODULE:NAME, it also takes a part of your own, such as --rule mine.py:MyRule.
"""

import dataclasses
import difflib
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from metarl.experiments.commands.command_line import command_of, described, program, run, shown_path, with_homes
from metarl.experiments.commands.training_callbacks import callbacks, own_callbacks
from metarl.experiments.presets.configuration import PRESETS, preset_config, variants_of
from metarl.experiments.presets.options import Variant, require_preset
from metarl.experiments.presets.published import require_published
from metarl.extras import missing
from metarl.rl.environments import ENVIRONMENTS
from metarl.shard import Shard
from metarl.training import flags
from metarl.training.config import Config
from metarl.training.distributed import connected, one_at_first
from metarl.training.help_texts import paragraphs
from metarl.training.run_directory import CONFIG, identity_of, read_config
from metarl.training.runs import train
from metarl.training.tree import differences, flat, with_options

TOLD_ALREADY = ("preset", "seed")  # options in which it is no surprise that runs differ


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


def parse(argv: Sequence[str]) -> Arguments:
    """Read the command line: a preset with flags, or a run to go on with.

    Raises:
        ValueError: a preset, part or option is unknown or missing, or an option means nothing for the method.
    """
    preset = argv[0] if argv and not argv[0].startswith("-") else None
    rest = argv[1:] if preset else argv
    if preset is None and ("--help" in rest or "-h" in rest):
        show_presets()
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
    parsed = flags.parse(make, Script, rest, program=named, description=_description())
    _require_meaning(parsed)
    idle = tuple(sorted(parsed.given & parsed.config.idle))
    return Arguments(parsed.config, with_homes(parsed.script), idle, tuple(_words_of(variants, parsed)))


def _words_of(variants: Sequence[Variant], parsed: flags.Parsed) -> Iterator[str]:
    """What variants of the preset changed, a line for each option that the run has and that was not given."""
    values = flat(parsed.config)
    for variant in variants:
        for name in variant.options:
            if name in values and name not in parsed.given:
                yield (
                    f"{name} is {values[name]} because --{variant.option} is below {variant.below}: {variant.reason}; "
                    f"--{name.replace('_', '-')} chooses another"
                )


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
    """What is wrong where a command line names a directory to go on in that holds no run; "" where it names none."""
    place = flags.value_of(argv, "run_dir")
    return without_run(Path(place).expanduser()) if place and _resumes(argv) else ""


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
        run_dir = Path(flags.value_of(argv, "run_dir") or "").expanduser()
    else:
        run_dir = default_run_dir(preset or "", method, flags.value_of(argv, "seed") or "1")
    return read_config(run_dir) if _resumes(argv) and (run_dir / CONFIG).is_file() else None


def default_run_dir(preset: str, method: str, seed: object) -> Path:
    """The directory of a run if none is given."""
    return Path("runs") / f"{preset}-{method}-seed{seed}"


def show_presets() -> None:
    """Print the presets, one a line."""
    table = Table(box=None, show_header=False)
    for name, preset in PRESETS.items():
        table.add_row(name, preset.description)
    console = Console()
    console.print(f"{paragraphs(_description())}\n\npresets:", highlight=False, markup=False)
    console.print(table)


def _description() -> str:
    return described("train", __doc__ or "")


def main(arguments: Arguments) -> None:
    """Train, and print where the results are."""
    with connected(arguments.config.device) as shard:
        _train(arguments, shard)


def _train(arguments: Arguments, shard: Shard) -> None:
    config, script, idle, notes = arguments
    with one_at_first(shard):
        config = dataclasses.replace(config, problem=config.problem.recorded())
    console = Console(stderr=True, markup=False, quiet=shard.rank > 0)
    run_dir = script.run_dir or default_run_dir(config.preset, config.method, config.seed)
    console.print(f"{config.preset}, method {config.method}, seed {config.seed} -> {run_dir}", highlight=False)
    resumes = script.resume and (run_dir / CONFIG).is_file()
    others = differences_from(None if resumes else script.initial_parameters, config)
    names = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
    unused = [f"{names} have no effect: method {config.method} does not train"] if idle else []
    for note in [*unused, *notes, *others, *config.outer.remarks(config.outer_steps)]:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    if resumes:  # first: what differs is told before it is built
        identity_of(config).require_same(read_config(run_dir).to_dict(), run_dir)
    elif script.resume:
        console.print(f"note: {without_run(run_dir)}: a new run begins", highlight=False, soft_wrap=True)
    further = own_callbacks(script.callback)
    with one_at_first(shard):
        problem = config.problem.build(config.setting(shard))
        outer = config.outer.build()
    if config.outer_steps and (words := config.problem.before_training):
        console.print(words, highlight=False, soft_wrap=True)
    state = train(
        problem,
        outer,
        run_dir=run_dir,
        iterations=config.outer_steps,
        seed=config.seed,
        callbacks=further,
        sinks=callbacks(config, problem, run_dir, console),
        resume=resumes,
        initial_parameters=script.initial_parameters,
        checkpoint_every=config.checkpoint_every,
        keep_every=config.keep_every,
        log_every=config.log_every,
        max_nonfinite=config.max_nonfinite,
        grace=config.grace,
        config=identity_of(config),
        shard=shard,
    )
    console.print(f"{state.iteration} iterations done; metrics and checkpoints are in {run_dir}", highlight=False)
    folder = shlex.quote(str(run_dir))
    if not missing("tensorboard"):
        tensorboard = shown_path(Path(sys.executable).with_name("tensorboard"))
        console.print(f"watch:    {shlex.quote(tensorboard)} --logdir {folder}", highlight=False, soft_wrap=True)
    console.print(f"evaluate: {command_of('evaluate')} {folder}", highlight=False, soft_wrap=True)


def differences_from(source: Path | None, config: Config) -> list[str]:
    """What is otherwise in the run that parameters are taken from, in words; [] where that cannot be told."""
    if source is None or not (source / CONFIG).is_file():
        return []
    found = [each for each in differences(read_config(source), config) if each.name not in TOLD_ALREADY]
    return [f"the parameters are of another run: {'; '.join(map(str, found))}"] if found else []


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(parse, main, argv, "what was checkpointed is whole; the same command with --resume goes on")


if __name__ == "__main__":
    command(sys.argv[1:])
