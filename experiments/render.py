"""Film a run's adaptation: python experiments/render.py RUN_DIR [--task-index I] [--gradient-steps K] --output FILE.

Supervised tasks are single pictures: the model's fit, or the images with their predicted labels.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imageio.v3 as iio
import tyro
from rich.console import Console

from metarl.experiments.command_line import arguments_of, run
from metarl.experiments.overrides import overridden
from metarl.experiments.published import evaluation_tasks
from metarl.files import write_atomically
from metarl.training.pictures import gif, side_by_side
from metarl.training.run_directory import read_config, read_parameters


@dataclass(frozen=True)
class Arguments:
    """What to film. Tasks and step sizes are those of the run's evaluation."""

    run_dir: tyro.conf.Positional[Path]
    """Directory of the run."""
    output: Path
    """The video: .mp4 or .gif; .png for a supervised task, or to see where a film ends."""
    task_index: int = 0
    """Which of the evaluation's tasks."""
    gradient_steps: int | None = None
    """How many gradient steps: one film before, and one after each. Default: 1, for an oracle none."""
    checkpoint: Literal["best", "last"] | None = None
    """Which parameters. Default: those that the run's configuration evaluates."""
    data_dir: str | None = None
    """Where the images lie now, if not where they lay in training (supervised)."""
    device: str | None = None
    """Torch device, if not that of training."""
    height: int = 320
    """Of each film, in pixels."""


def main(arguments: Arguments) -> None:
    """Adapt, film, and write the video."""
    if arguments.output.suffix not in (".mp4", ".gif", ".png"):
        raise ValueError(f"--output must end in .mp4, .gif or .png; got {arguments.output}")
    config = read_config(arguments.run_dir)
    steps = min(1, config.test_steps) if arguments.gradient_steps is None else arguments.gradient_steps
    if steps < 0 or (steps > 0 and config.method == "oracle"):
        right = "0 for an oracle, which knows the task" if config.method == "oracle" else "at least 0"
        raise ValueError(f"--gradient-steps must be {right}; got {steps}")
    config = overridden(config, arguments, {"data_dir": "data_dir", "device": "device"})
    checkpoint = read_parameters(arguments.run_dir, arguments.checkpoint or config.evaluation_checkpoint)
    problem = config.problem.build(config.setting())
    tasks = evaluation_tasks(config, problem)
    if not 0 <= arguments.task_index < len(tasks):
        raise ValueError(f"--task-index must be in 0 .. {len(tasks) - 1}; got {arguments.task_index}")
    theta = {name: leaf.to(config.device) for name, leaf in checkpoint.theta.items()}
    films = problem.pictures(theta, config.test_rule, steps, tasks, arguments.task_index, config.seed)
    frames, rate = side_by_side(films, height=arguments.height), films[0].frames_per_second
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    if arguments.output.suffix == ".gif":
        video = gif(frames, rate)
    elif arguments.output.suffix == ".png":
        video = iio.imwrite("<bytes>", frames[-1], extension=".png")
    else:
        video = iio.imwrite("<bytes>", frames, extension=".mp4", plugin="FFMPEG", fps=rate, macro_block_size=2)
    write_atomically(arguments.output, video)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for step, film in enumerate(films):
        console.print(f"{film.title}: {film.captions[-1]} after {step} gradient steps")
    words = "picture" if arguments.output.suffix == ".png" else f"{len(frames)} frames at {rate:.0f} per second"
    console.print(f"{words}: {arguments.output}")


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(lambda args: arguments_of(Arguments, "render", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
