"""Film a run's adaptation: python experiments/render.py RUN_DIR [--task-index I] [--gradient-steps K] --output FILE.

Supervised tasks are single pictures: the model's fit, or the images with their predicted labels.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console

from metarl.experiments.commands.changed_options import overridden
from metarl.experiments.commands.command_line import arguments_of, run, waiting
from metarl.experiments.presets.published import evaluation_tasks
from metarl.files import write_atomically
from metarl.rl.environments import Environment
from metarl.rl.problem import MetaRL
from metarl.training.config import Config
from metarl.training.film_frames import at_speed, require_video, side_by_side, video
from metarl.training.run_directory import read_config, read_parameters
from metarl.training.state import fitted


@dataclass(frozen=True)
class Arguments:
    """What to film. Tasks and step sizes are those of the run's evaluation."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    output: Path
    """The video: .mp4 or .gif; .png for a supervised task, or to see where a film ends."""
    task_index: int = 0
    """The evaluation's task with this number, from 0."""
    task: tuple[float, ...] | None = None
    """A task of your own instead, number by number (reinforcement learning)."""
    gradient_steps: int | None = None
    """Number of gradient steps: one film before the first, and one after each. Default: 1, for an oracle 0."""
    checkpoint: Literal["best", "last"] | None = None
    """Which parameters to film. Default: those that the run's configuration evaluates."""
    data_dir: str | None = None
    """Folder with the images, if it is not the one of training (supervised)."""
    device: str | None = None
    """Torch device, if it is not the one of training."""
    height: int = 320
    """Height of each film, in pixels."""
    speed: float = 1.0
    """Speed of the film; 1 is real time."""
    mean_action: bool = False
    """Film the policy's mean action, not a sample of it (reinforcement learning)."""


def main(arguments: Arguments) -> None:
    """Adapt, film, and write the video."""
    require_video(arguments.output.suffix.lower())
    # Whole, because an environment, or a module of the user's, may move the process to another folder.
    output = arguments.output.absolute()
    run_dir = arguments.run_dir.absolute()
    config = read_config(arguments.run_dir)
    steps = min(1, config.test_steps) if arguments.gradient_steps is None else arguments.gradient_steps
    if steps < 0 or (steps > 0 and config.knows_the_task):
        right = "0 for an oracle, which knows the task" if config.knows_the_task else "at least 0"
        raise ValueError(f"--gradient-steps must be {right}; got {steps}")
    config = overridden(config, arguments, {"data_dir": "data_dir", "device": "device"})
    checkpoint = read_parameters(run_dir, arguments.checkpoint or config.evaluation_checkpoint)
    problem = config.problem.build(config.setting())
    if arguments.task is None:
        tasks = evaluation_tasks(config, problem)
        if not 0 <= arguments.task_index < len(tasks):
            raise ValueError(f"--task-index must be in 0 .. {len(tasks) - 1}; got {arguments.task_index}")
        index = arguments.task_index
    else:
        tasks = own_task(config, arguments.task)[None]
        index = 0
    theta = fitted(checkpoint.theta, problem, f"the policy of {arguments.run_dir}")
    if arguments.mean_action and not isinstance(problem, MetaRL):
        raise ValueError(f"--mean-action means nothing for {config.preset}, which has no policy")
    what = (theta, config.test_rule, steps, tasks, index, config.seed)
    with waiting(f"adapting by {steps} gradient steps, and filming"):
        if isinstance(problem, MetaRL):
            films = problem.pictures(*what, mean_action=arguments.mean_action)
        else:
            films = problem.pictures(*what)
    frames, rate = at_speed(side_by_side(films, height=arguments.height), films[0].frames_per_second, arguments.speed)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, video(frames, rate, output.suffix.lower()))
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for step, film in enumerate(films):
        words = ", ".join(film.captions[-1].splitlines())
        console.print(f"{film.title}, after {step} gradient step{'' if step == 1 else 's'}: {words}")
    words = "picture" if output.suffix.lower() == ".png" else f"{len(frames)} frames at {rate:.0f} per second"
    console.print(f"{words}: {arguments.output}")


def environment_of(config: Config) -> Environment:
    """The environment of a run. Raises ValueError for a supervised run."""
    environment = getattr(config.problem, "environment", None)
    if not environment:
        raise ValueError(f"--task means nothing for {config.preset}: its tasks are not made of a few numbers")
    return environment


def own_task(config: Config, numbers: Sequence[float]) -> NDArray[np.float64]:
    """A task that the user gives, [k].

    Raises:
        ValueError: the run is supervised, or the environment's tasks have another number of numbers, or it cannot be
            given this task.
    """
    environment = environment_of(config)
    names = environment.tasks.names
    task = np.array(numbers, np.float64)
    if len(task) != len(names):
        raise ValueError(f"--task must have {len(names)} numbers ({', '.join(names)}); got {len(task)}")
    if not environment.tasks.valid(task[None])[0]:
        words = " ".join(f"{number:g}" for number in task)
        raise ValueError(f"--task must be {environment.tasks.must_be} ({', '.join(names)}); got {words}")
    return task


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "render", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
