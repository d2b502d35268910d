"""Meta-train: python experiments/train.py PRESET [flags]. PRESET --help shows every flag with its default."""

import itertools
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from tyro.conf import OmitArgPrefixes

from metarl.experiments.assemble import compiles, make_outer, make_problem
from metarl.experiments.callbacks import callbacks
from metarl.experiments.command_line import run
from metarl.experiments.presets import presets_for
from metarl.shard import Shard
from metarl.training.config import Config, SupervisedConfig
from metarl.training.distributed import connected, one_at_first
from metarl.training.run_directory import identity_of
from metarl.training.runs import train


@dataclass(frozen=True)
class Arguments:
    """What to train, and where the run goes."""

    config: OmitArgPrefixes[Config]
    run_dir: Path | None = None
    """Directory of the run. Default: runs/PRESET-METHOD-seedN."""
    resume: bool = False
    """Go on with the run in that directory, from its last checkpoint."""


def parse(argv: Sequence[str]) -> Arguments:
    """The command line, as one of the presets with its flags; a method may have other defaults than MAML."""
    presets = presets_for(_method(argv))
    choices = {name: (description, Arguments(config)) for name, (description, config) in presets.items()}
    return tyro.extras.overridable_config_cli(choices, prog="experiments/train.py", description=__doc__, args=argv)


def _method(argv: Sequence[str]) -> str:
    """What follows --method, wherever that is; whether it is one, tyro will say."""
    words = [part for word in argv for part in (word.split("=", 1) if word.startswith("--") else [word])]
    return next((value for flag, value in itertools.pairwise(words) if flag == "--method"), "maml")


def main(arguments: Arguments) -> None:
    """Train, and say where everything is."""
    with connected(arguments.config.device) as shard:
        _train(arguments, shard)


def _train(arguments: Arguments, shard: Shard) -> None:
    config, console = arguments.config, Console(stderr=True, markup=False, quiet=shard.rank > 0)
    run_dir = arguments.run_dir or Path("runs") / config.run_name
    console.print(f"{config.preset}, method {config.method}, seed {config.seed} -> {run_dir}", highlight=False)
    if isinstance(config, SupervisedConfig) and config.compile and config.outer_steps:
        words = "the first iteration compiles, for a minute or two" if compiles(config) else "without torch.compile"
        console.print(f"meta-gradient: {words}", highlight=False)
    with one_at_first(shard):
        problem, outer = make_problem(config, shard), make_outer(config)
    state = train(
        problem,
        outer,
        run_dir=run_dir,
        iterations=config.outer_steps,
        seed=config.seed,
        sinks=callbacks(config, problem, run_dir, console),
        resume=arguments.resume,
        checkpoint_every=config.checkpoint_every,
        max_nonfinite=config.max_nonfinite,
        config=identity_of(config),
        shard=shard,
    )
    console.print(f"{state.iteration} iterations done; metrics and checkpoints are in {run_dir}", highlight=False)
    scripts = os.path.relpath(Path(sys.executable).parent)
    console.print(f"watch:    {scripts}/tensorboard --logdir {run_dir}", highlight=False, soft_wrap=True)
    console.print(f"evaluate: {scripts}/python experiments/evaluate.py {run_dir}", highlight=False, soft_wrap=True)


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(parse, main, argv, "what was checkpointed is whole; the same command with --resume goes on")


if __name__ == "__main__":
    command(sys.argv[1:])
