"""Adapt a shipped policy to a task of yours, without training: metarl demo [NAME or RUN] [--task NUMBERS].

The demo prints the return before adaptation and after each gradient step, and writes a film of each. NAME is navigation
(a point finds a goal, --task X Y), cheetah or ant (a robot runs forward, --task 1, or backward, --task -1).
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import metarl
from metarl.agent import Agent
from metarl.experiments.commands.command_line import arguments_of, run, waiting
from metarl.experiments.render import environment_of, own_task
from metarl.files import write_atomically
from metarl.randomness import Purpose
from metarl.rl.films import worded
from metarl.starting_folder import from_start
from metarl.training.film_frames import at_speed, require_video, side_by_side, video
from metarl.training.state import fitted

RESULTS = Path(__file__).parent / "results"
SHIPPED = {
    "navigation": "navigation-paper/maml-seed1",
    "cheetah": "cheetah-dir-cavia-long/cavia-seed1",
    "ant": "ant-dir-cavia/final-seed1",
}


@dataclass(frozen=True)
class Arguments:
    """Which policy to adapt, and to which task."""

    policy: tyro.conf.Positional[str] = "navigation"
    """A shipped policy, navigation, cheetah or ant; or the directory of a run of your own."""
    task: tuple[float, ...] | None = None
    """The task, number by number. Default: one that training never saw."""
    gradient_steps: int = 2
    """Number of gradient steps, each on fresh episodes."""
    output: Path = Path("demo.gif")
    """The film: .gif, .mp4 or .png (its last frame)."""
    seed: int = 0
    """Key of the episodes, and of the task if none is given."""
    speed: float = 2.0
    """Speed of the film; 1 is real time."""
    height: int = 280
    """Height of each panel of the film, in pixels."""


def main(arguments: Arguments) -> None:
    """Adapt, print the table, and write the film."""
    require_video(arguments.output.suffix.lower())
    if arguments.gradient_steps < 0:
        raise ValueError(f"--gradient-steps must be at least 0; got {arguments.gradient_steps}")
    agent = metarl.load_agent(run_of(arguments.policy))
    config = agent.config
    problem = agent.problem
    theta = fitted(agent.theta, problem, f"the policy of {arguments.policy}")
    if arguments.gradient_steps and config.knows_the_task:
        raise ValueError(f"an oracle knows the task: --gradient-steps must be 0; got {arguments.gradient_steps}")
    task = task_of(agent, arguments)
    console = Console(markup=False, highlight=False)
    console.print(f"policy: {config.preset}, method {config.method}")
    console.print(f"task:   {_described(agent, task)}", soft_wrap=True)
    steps = arguments.gradient_steps
    with waiting(f"adapting by {steps} gradient steps"):
        scores = problem.evaluate(theta, config.test_rule, steps, task[None], arguments.seed).scores
    console.print(_table(scores, config.problem.achieved_name, config.test_step_sizes))
    with waiting("filming"):
        films = problem.pictures(theta, config.test_rule, steps, task[None], 0, arguments.seed, mean_action=True)
    frames, rate = at_speed(side_by_side(films, height=arguments.height), films[0].frames_per_second, arguments.speed)
    output = from_start(arguments.output)  # an environment may move the process to another folder
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, video(frames, rate, output.suffix.lower()))
    console.print(f"film:   {shlex.quote(str(arguments.output))}, of the policy's mean actions", soft_wrap=True)


def run_of(policy: str) -> Path:
    """The directory of the run of a policy.

    Raises:
        ValueError: the policy is neither shipped nor a directory, or this copy of metarl comes without policies.
    """
    if policy not in SHIPPED:
        if not Path(policy).expanduser().exists():
            raise ValueError(f"there is no run {policy}: name one, or a shipped policy: {', '.join(SHIPPED)}")
        return Path(policy).expanduser()
    place = RESULTS / SHIPPED[policy]
    if not place.is_dir():
        raise ValueError(
            f"this copy of metarl comes without trained policies, which are in the repository's experiments/results: "
            f"name the directory of a run of your own in place of {policy}"
        )
    return place


def task_of(agent: Agent, arguments: Arguments) -> NDArray[np.float64]:
    """The given task [k], or one that the policy's training never saw. Raises ValueError as `own_task` does."""
    if arguments.task is not None:
        return own_task(agent.config, arguments.task)
    return agent.problem.sample_tasks(arguments.seed, Purpose.EVALUATION_TASKS, count=1)[0]


def _described(agent: Agent, task: NDArray[np.float64]) -> str:
    """A task in words, and whether training might have drawn it."""
    config = agent.config
    words = ", ".join(worded(name, value) for name, value in zip(config.problem.task_names, task, strict=True))
    within = environment_of(config).tasks.in_distribution(task[None])[0]
    return words if within else f"{words} (outside of what training draws)"


def _table(scores: dict[str, NDArray[np.float64]], achieved_name: str, step_sizes: Sequence[float]) -> Table:
    """One row for each gradient step: the average return, and what was achieved."""
    table = Table(box=None)
    shown = {"average_return": "return", "achieved": achieved_name, "success": "success"}
    for name in ("gradient steps", "step size", *(words for score, words in shown.items() if score in scores)):
        table.add_column(name, justify="right")
    for step in range(len(scores["average_return"])):
        size = f"{step_sizes[min(step, len(step_sizes)) - 1]:g}" if step and step_sizes else ""
        table.add_row(str(step), size, *(f"{scores[score][step, 0]:.2f}" for score in shown if score in scores))
    return table


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "demo", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
