"""Score a run on held-out tasks: python experiments/evaluate.py RUN_DIR [--gradient-steps K] [--tasks N] ..."""

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from metarl.experiments.commands.changed_options import overridden
from metarl.experiments.commands.command_line import arguments_of, run, waiting, with_homes
from metarl.experiments.commands.task_files import read_tasks
from metarl.experiments.commands.training_callbacks import DISTINGUISHING, options
from metarl.experiments.figures.evaluated_runs import label_of, published_of, read_run
from metarl.experiments.presets.published import evaluation_tasks
from metarl.extras import missing
from metarl.metrics import number
from metarl.problem import Evaluation, Problem
from metarl.randomness import Purpose
from metarl.starting_folder import start
from metarl.training.config import Config
from metarl.training.evaluation import evaluate, validation_tasks
from metarl.training.evaluation_files import PER_TASK, SUMMARY, TRACES, differences_to, write_evaluation
from metarl.training.run_directory import holds_run, read_config, read_parameters
from metarl.training.state import fitted
from metarl.training.statistics import summaries_of
from metarl.training.tree import flat

OPTION_OF = {  # the option of the run's configuration that an argument replaces
    "gradient_steps": "evaluation_steps",
    "step_sizes": "evaluation_step_sizes",
    "episodes": "evaluation_episodes",
    "counting": "evaluation_counting",
    "shots": "shots",
    "queries": "evaluation_queries",
    "transductive": "evaluation_transductive",
    "checkpoint": "evaluation_checkpoint",
    "data_dir": "data_dir",
    "cache_dir": "cache_dir",
    "device": "device",
}


@dataclass(frozen=True)
class Arguments:
    """Which run to score, and how. The run's configuration has the values that are not given."""

    run_dir: tyro.conf.Positional[Path]
    """The run's directory."""
    gradient_steps: int | None = None
    """K: score after 0 .. K gradient steps."""
    step_sizes: tuple[float, ...] | None = None
    """Size of each gradient step; the last one repeats."""
    tasks: int | None = None
    """Number of held-out tasks."""
    task_file: Path | None = None
    """Score tasks of your own instead: rows of numbers in a .csv, .npy or .json file, also outside the range of
    training (reinforcement learning)."""
    episodes: int | None = None
    """Episodes per task and gradient step (reinforcement learning)."""
    data_dir: str | None = None
    """Folder with the images, if it is not the one of training."""
    device: str | None = None
    """Torch device, if it is not the one of training."""
    output: Path | None = None
    """Directory for evaluation.csv, .json and .npz. Default: the run's; in it validation/ with --validation, and
    tasks-NAME/ with --task-file NAME.csv."""
    counting: Literal["episodes", "timesteps"] | None = None
    """episodes: every complete episode counts. timesteps: as the authors counted (see train.py --help; reinforcement
    learning)."""
    shots: int | None = None
    """Support examples (of each class) to adapt on (supervised)."""
    queries: int | None = None
    """Query examples (of each class) that each task is scored on (supervised)."""
    transductive: bool | None = None
    """Predict the query examples of a task together, as the paper does, or each by itself (supervised; see train.py
    --help)."""
    cache_dir: str | None = None
    """Folder for decoded images (supervised)."""
    validation: bool = False
    """Score the validation tasks instead, to choose something by their scores, such as the step sizes."""
    checkpoint: Literal["last", "best"] | None = None
    """best: the parameters that training found best (see train.py --help). last: those of the last iteration."""


def main(arguments: Arguments) -> None:
    """Evaluate, print the table, and write evaluation.csv, .json and .npz to the run directory."""
    stored = read_config(arguments.run_dir)
    arguments = with_homes(arguments)  # a module of the user's may have moved the process to another folder
    _require_place(arguments)
    if stored.knows_the_task and (arguments.gradient_steps or arguments.step_sizes):
        raise ValueError(f"{arguments.run_dir} is an oracle, which knows the task: it takes no gradient steps")
    _require_step_sizes(arguments, stored)
    tasks_option = "validation_tasks" if arguments.validation else "evaluation_tasks"
    config = overridden(stored, arguments, OPTION_OF | {"tasks": tasks_option})
    checkpoint = read_parameters(arguments.run_dir, config.evaluation_checkpoint)
    split, directory = _split(arguments)
    problem = config.problem.build(config.setting())
    # Once more, because building the problem runs code of the user's, too.
    tasks, inside = _tasks(with_homes(arguments), config, problem)
    theta = fitted(checkpoint.theta, problem, f"the policy of {arguments.run_dir}")
    purpose = Purpose.VALIDATION_TASKS if arguments.validation else Purpose.EVALUATION_TASKS
    kind = {"test": "held-out tasks", "validation": "validation tasks", "file": "tasks"}[split]
    with waiting(f"scoring {len(tasks)} {kind} after 0 to {config.test_steps} gradient steps"):
        result = evaluate(problem, theta, config, tasks, purpose=purpose)
    directory.mkdir(parents=True, exist_ok=True)
    _warn_of_replaced(differences_to(directory, config, tasks, split=split))
    steps = write_evaluation(
        directory, config, result, tasks, iteration=checkpoint.iteration, split=split, in_distribution=inside
    )
    title = f"{arguments.run_dir}: {config.evaluation_checkpoint} checkpoint, iteration {checkpoint.iteration}"
    console = Console(markup=False, highlight=False)
    theirs = published_of(config, config.protocol, label_of(config)) if split == "test" else {}
    _print(console, f"{title}, {len(tasks)} {kind}", score_table(steps, config, theirs))
    if inside is not None:
        _print_apart(console, title, result, inside, config)
    console.print(f"{SUMMARY}, {PER_TASK} and {TRACES} are in {_shown(directory)}", soft_wrap=True)
    if holds_run(directory) and split == "test":  # the run's own directory
        _for_tensorboard(directory, config, steps)


def _warn_of_replaced(differences: list[str]) -> None:
    """Warn of scores of another protocol that are about to be replaced; of none without differences."""
    if differences:
        words = f"scores that were made otherwise are replaced ({'; '.join(differences)}); --output keeps both"
        warnings.warn(words, stacklevel=2)


def _shown(directory: Path) -> Path:
    """A directory as it leads from here, if it lies below."""
    return directory.relative_to(start()) if directory.is_relative_to(start()) else directory


def _require_step_sizes(arguments: Arguments, stored: Config) -> None:
    """Raise ValueError for step sizes that would have no effect, or are none."""
    if arguments.step_sizes == ():
        raise ValueError("--step-sizes needs at least one number")
    if stored.rule.learns_step_sizes and arguments.step_sizes:
        raise ValueError(f"--step-sizes means nothing for rule {flat(stored)['rule']}, which learns its own")


def _require_place(arguments: Arguments) -> None:
    """Raise ValueError for an output that is a file, or that is the directory of another run, or in it."""
    output = arguments.output
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file; scores need a directory")
    folders = (output.absolute(), *output.absolute().parents)
    run = next(filter(holds_run, folders), None)
    if run is not None and not run.samefile(arguments.run_dir):
        where = "is the directory of" if run == output.absolute() else f"lies in {run},"
        raise ValueError(f"--output {output} {where} another run, whose scores would be replaced")


def _for_tensorboard(run_dir: Path, config: Config, steps: list[dict[str, Any]]) -> None:
    """Show TensorBoard the scores and their figure, if TensorBoard and Matplotlib are installed."""
    if missing("tensorboard") or missing("plots"):
        return
    # Imported here, because they belong to extras.
    from metarl.experiments.figures.run_figures import draw
    from metarl.training.tensorboard_files import write_adaptation

    scored = read_run(run_dir)
    figure = draw({scored.label: [scored]})
    write_adaptation(run_dir, config.problem.score, steps, figure, options(config), DISTINGUISHING)


def _tasks(
    arguments: Arguments, config: Config, problem: Problem
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """The tasks [N, k], and of a file's tasks which ones training may draw, [N]. Raises ValueError for bad tasks."""
    if arguments.task_file is None:
        drawn = validation_tasks(problem, config) if arguments.validation else evaluation_tasks(config, problem)
        return drawn, None
    environment = getattr(config.problem, "environment", None)
    if environment is None:
        raise ValueError(f"--task-file means nothing for {config.preset}: its tasks are no rows of numbers")
    for name in ("tasks", "validation"):
        if getattr(arguments, name):
            raise ValueError(f"--{name} means nothing beside --task-file, which says which tasks")
    tasks = read_tasks(arguments.task_file, environment.tasks)
    return tasks, environment.tasks.in_distribution(tasks)


def _print(console: Console, title: str, table: Table) -> None:
    """Print a table below its title, which may be wider: Rich would break it into the table's width."""
    console.print(f"\n{title}", soft_wrap=True)
    console.print(table)


def _print_apart(console: Console, title: str, result: Evaluation, inside: NDArray[np.bool_], config: Config) -> None:
    """Print the scores of tasks in the training distribution and of tasks outside it, if there are both."""
    for words, mask in (("of", inside), ("outside", ~inside)):
        if 0 < mask.sum() < len(inside):
            part = summaries_of({name: values[:, mask] for name, values in result.scores.items()}, config.seed)
            words = f"{title}, {mask.sum()} tasks {words} the training distribution"
            _print(console, words, score_table(part, config, {}))


def _split(arguments: Arguments) -> tuple[str, Path]:
    """The split that the tasks are of, and the directory for their scores."""
    split = "test"
    place = arguments.run_dir
    if arguments.task_file is not None:
        split = "file"
        place /= f"tasks-{arguments.task_file.stem}"
    elif arguments.validation:
        split = "validation"
        place /= "validation"
    # Whole, because an environment may move the process to another folder.
    return split, (arguments.output or place).absolute()


def score_table(steps: list[dict[str, Any]], config: Config, theirs: Mapping[int, float]) -> Table:
    """One row per gradient step: the score's mean, its 95 % interval and median, means of other scores, and failures.

    `theirs` are published means by gradient step. An accuracy stands there once more as papers on few-shot learning
    print it, with `statistics.plus_minus`. Terms of the reward are in the files alone.
    """
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    failures = {
        name: any(step[name]["mean"] > 0 for step in steps) for name in ("broken", "diverged") if name in steps[0]
    }
    silent = {
        "gradient_steps",
        config.problem.score,
        *failures,
        *(name for name in steps[0] if name.startswith("reward/")),
    }
    others = [name for name in steps[0] if name not in silent]
    shown = [name for name, occurred in failures.items() if occurred]
    # A few tasks are fitted much worse than the rest, so that the median of a loss says more than the mean.
    shows_median = config.problem.score == "loss"
    shows_as_printed = config.problem.score == "accuracy"
    heads = ["gradient\nsteps", _words(config.problem.score, config), "95 % over tasks"]
    if shows_median:
        heads.append("median")
    if shows_as_printed:
        heads.append("as papers print it")
    if theirs:
        heads.append("published")
    for name in (*heads, *(_words(name, config) for name in others), *shown):
        table.add_column(Text(name), justify="right", no_wrap=name in heads)
    for step in steps:
        score = step[config.problem.score]
        table.add_row(
            str(at := step["gradient_steps"]),
            number(score["mean"]),
            f"{number(score['low'])} .. {number(score['high'])}",
            *([number(score["median"])] if shows_median else []),
            *([f"{100 * score['mean']:.2f} ± {100 * score['plus_minus']:.2f} %"] if shows_as_printed else []),
            *([number(theirs[at]) if at in theirs else "-"] if theirs else []),
            *(number(step[name]["mean"]) for name in others),
            *(f"{step[name]['mean']:.1%}" for name in shown),
        )
    return table


def _words(name: str, config: Config) -> str:
    """The heading of a score; that of `achieved` is the environment's own."""
    if name == "achieved":
        return config.problem.achieved_name
    return {"adaptation_env_steps": "env steps", "average_return": "return", "error": "off the command"}.get(name, name)


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "evaluate", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
