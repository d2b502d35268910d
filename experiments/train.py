"""Meta-train: python experiments/train.py PRESET [flags]. PRESET --help shows every flag with its default.

Where the values of a flag end in MODULE:NAME, it also takes a part of your own, such as --rule mine.py:MyRule.
"""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metarl.experiments.commands.command_line import run
from metarl.experiments.commands.started_command import command_of, shown_path
from metarl.experiments.commands.training_callbacks import callbacks, own_callbacks
from metarl.experiments.presets.training_arguments import Arguments, default_run_dir, parse, without_run
from metarl.extras import missing
from metarl.shard import Shard
from metarl.starting_folder import from_start
from metarl.training.config import Config
from metarl.training.distributed import connected, one_at_first
from metarl.training.run_directory import CONFIG, identity_of, read_config
from metarl.training.runs import train
from metarl.training.tree import differences

TOLD_ALREADY = ("preset", "seed")  # options in which it is no surprise that runs differ


def main(arguments: Arguments) -> None:
    """Train, and print where the results are."""
    with connected(arguments.config.device) as shard:
        _train(arguments, shard)


def _train(arguments: Arguments, shard: Shard) -> None:
    config, script = arguments.config, arguments.script
    run_dir = script.run_dir or default_run_dir(config.preset, config.method, config.seed)
    place = from_start(run_dir).absolute()
    source = from_start(script.initial_parameters).absolute() if script.initial_parameters else None
    with one_at_first(shard):
        config = dataclasses.replace(config, problem=config.problem.recorded())
    console = Console(stderr=True, markup=False, quiet=shard.rank > 0)
    console.print(f"{config.preset}, method {config.method}, seed {config.seed} -> {run_dir}", highlight=False)
    resumes = script.resume and (place / CONFIG).is_file()
    for note in _notes(arguments, config, None if resumes else source):
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    if resumes:  # `train` requires it too, but only after the problem is built, which may take minutes
        identity_of(config).require_same(read_config(place).to_dict(), run_dir)
    elif script.resume:
        console.print(f"note: {without_run(place)}: a new run begins", highlight=False, soft_wrap=True)
    further = own_callbacks(script.callback)
    with one_at_first(shard):
        problem = config.problem.build(config.setting(shard))
        outer = config.outer.build()
    if config.outer_steps and (words := config.problem.before_training):
        console.print(words, highlight=False, soft_wrap=True)
    state = train(
        problem,
        outer,
        run_dir=place,
        iterations=config.outer_steps,
        seed=config.seed,
        callbacks=further,
        sinks=callbacks(config, problem, place, console),
        resume=resumes,
        initial_parameters=source,
        checkpoint_every=config.checkpoint_every,
        keep_every=config.keep_every,
        log_every=config.log_every,
        max_nonfinite=config.max_nonfinite,
        grace=config.grace,
        config=identity_of(config),
        shard=shard,
    )
    console.print(f"{state.iteration} iterations done; metrics and checkpoints are in {run_dir}", highlight=False)
    _print_next_commands(console, run_dir)


def _notes(arguments: Arguments, config: Config, source: Path | None) -> list[str]:
    """What whoever starts the run may not expect of its options; its parameters are those of `source`, if of any."""
    names = ", ".join(f"--{name.replace('_', '-')}" for name in arguments.idle)
    idle = [f"{names} have no effect: method {config.method} does not train"] if names else []
    others = differences_from(source, config)
    return [*idle, *arguments.notes, *others, *config.outer.remarks(config.outer_steps)]


def _print_next_commands(console: Console, run_dir: Path) -> None:
    folder = shlex.quote(str(run_dir))
    if not missing("tensorboard"):
        tensorboard = shown_path(Path(sys.executable).with_name("tensorboard"))
        console.print(f"watch:    {shlex.quote(tensorboard)} --logdir {folder}", highlight=False, soft_wrap=True)
    console.print(f"evaluate: {command_of('evaluate')} {folder}", highlight=False, soft_wrap=True)


def differences_from(source: Path | None, config: Config) -> list[str]:
    """Say in which options the run that parameters are taken from differs; [] where it has no configuration."""
    if source is None or not (source / CONFIG).is_file():
        return []
    found = [
        difference for difference in differences(read_config(source), config) if difference.name not in TOLD_ALREADY
    ]
    return [f"the parameters are of another run: {'; '.join(map(str, found))}"] if found else []


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(
        lambda words: parse(words, __doc__ or ""),
        main,
        argv,
        "what was checkpointed is whole; the same command with --resume goes on",
    )


if __name__ == "__main__":
    command(sys.argv[1:])
