"""Score a run on held-out tasks: python experiments/evaluate.py RUN_DIR [--gradient-steps K] [--tasks N] ..."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from envs.family import FAMILIES, make_family
from experiments.assemble import environment_id, evaluation_tasks, make_problem
from experiments.command_line import run
from metarl.training.evaluation import evaluate, write_evaluation
from metarl.training.run_directory import read_config, read_parameters


@dataclass(frozen=True)
class Arguments:
    """Which run to score, and how; what is left out comes from the run's configuration."""

    run_dir: tyro.conf.Positional[Path]
    """The run's directory."""
    gradient_steps: int | None = None
    """Score after 0 .. so many gradient steps."""
    step_sizes: tuple[float, ...] | None = None
    """Size of each gradient step; the last one repeats."""
    tasks: int | None = None
    """Number of held-out tasks."""
    episodes: int | None = None
    """Episodes per task and gradient step."""
    output: Path | None = None
    """Directory for evaluation.csv, .json and .npz. Default: the run's."""
    counting: Literal["episodes", "timesteps"] | None = None
    """episodes: every complete episode counts. timesteps: as the authors counted (see train.py --help)."""
    checkpoint: Literal["last", "best"] | None = None
    """best: the parameters with the best training return after adaptation. last: those of the last iteration."""


def main(arguments: Arguments) -> None:
    """Evaluate, print the table, and leave evaluation.csv, .json and .npz in the run directory."""
    config = read_config(arguments.run_dir)
    overrides = {
        "evaluation_steps": arguments.gradient_steps,
        "evaluation_step_sizes": arguments.step_sizes,
        "evaluation_tasks": arguments.tasks,
        "evaluation_episodes": arguments.episodes,
        "evaluation_counting": arguments.counting,
        "evaluation_checkpoint": arguments.checkpoint,
    }
    config = dataclasses.replace(config, **{name: value for name, value in overrides.items() if value is not None})
    checkpoint = read_parameters(arguments.run_dir, config.evaluation_checkpoint)
    problem = make_problem(config)
    tasks = evaluation_tasks(config, problem)
    theta = {name: leaf.to(config.device) for name, leaf in checkpoint.theta.items()}
    result = evaluate(problem, theta, config, tasks)
    directory = arguments.output or arguments.run_dir
    directory.mkdir(parents=True, exist_ok=True)
    steps = write_evaluation(directory, config, result, tasks, iteration=checkpoint.iteration)
    which = f"{config.evaluation_checkpoint} checkpoint, iteration {checkpoint.iteration}"
    name, options = environment_id(config), config.environment_options
    achieved = make_family(name, **options).achieved_name if name in FAMILIES else "achieved"
    Console().print(_table(f"{escape(str(arguments.run_dir))}: {which}, {len(tasks)} tasks", steps, achieved))


def _table(title: str, steps: list[dict[str, Any]], achieved_name: str) -> Table:
    """One row per gradient step, means over tasks with their 95 % intervals."""
    table = Table(title=title)
    table.add_column("gradient steps", justify="right")
    for name in ("return", "95 % interval", escape(achieved_name), "env steps"):
        table.add_column(name, justify="right")
    for step in steps:
        returns, achieved, spent = step["average_return"], step.get("achieved"), step["adaptation_env_steps"]
        table.add_row(
            str(step["gradient_steps"]),
            f"{returns['mean']:.2f}",
            f"{returns['low']:.2f} .. {returns['high']:.2f}",
            f"{achieved['mean']:.3f}" if achieved else "-",
            f"{spent['mean']:.0f}",
        )
    return table


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(lambda args: tyro.cli(Arguments, prog="experiments/evaluate.py", description=__doc__, args=args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
