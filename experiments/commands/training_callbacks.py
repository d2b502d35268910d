"""The callbacks of a configuration's training, and the options that TensorBoard lists."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from metarl.extras import advice, missing
from metarl.problem import Problem
from metarl.randomness import Purpose
from metarl.training.callbacks.callback import Callback
from metarl.training.callbacks.console import ConsoleProgress
from metarl.training.callbacks.csv import Csv
from metarl.training.callbacks.films import Films
from metarl.training.callbacks.optional_tensorboard import event_files
from metarl.training.callbacks.validation import Validation
from metarl.training.config import Config
from metarl.training.evaluation import evaluate, validation_pictures, validation_tasks
from metarl.training.run_directory import METRICS
from metarl.training.tree import flat, recorded
from metarl.user_code import named, raised_at_the_call

if TYPE_CHECKING:
    from metarl.training.tensorboard_files import Option

DISTINGUISHING = ("method", "preset", "seed", "inner_step_size")  # options by which runs are told apart


def callbacks(config: Config, problem: Problem, run_dir: Path, console: Console) -> list[Callback]:
    """The callbacks that a configuration asks for. Checkpoints are not among them: every training writes them."""
    tensorboard = event_files(run_dir, options(config), DISTINGUISHING)
    found: list[Callback] = []
    if config.evaluate_every:
        tasks = validation_tasks(problem, config)
        found.append(
            Validation(
                lambda theta: evaluate(problem, theta, config, tasks, purpose=Purpose.VALIDATION_TASKS),
                config.evaluate_every,
            )
        )
    found += [Csv(run_dir / METRICS, config.log_every), *tensorboard, ConsoleProgress(console)]
    if config.render_every and missing("render"):
        warnings.warn(
            f"no films while training, for what writes them is not installed: {advice('render')}", stacklevel=2
        )
    elif config.render_every and tensorboard:
        shown = tensorboard[0].show
        found.append(Films(lambda theta: validation_pictures(problem, theta, config), shown, config.render_every))
    return found


def own_callbacks(choices: Sequence[str]) -> list[Callback]:
    """Make the user's own callbacks, each named as MODULE:NAME: a class or a function, called without arguments.

    Raises:
        ValueError: there is no such name, or it makes no callback.
    """
    made = [_made(choice) for choice in choices]
    if wrong := [choice for choice, callback in zip(choices, made, strict=True) if not isinstance(callback, Callback)]:
        raise ValueError(f"callback {wrong[0]!r} must be a class of callbacks, or a function that returns one")
    return made


def _made(choice: str) -> Any:
    maker = named("callback", choice)
    try:
        return maker() if callable(maker) else maker
    except TypeError as error:
        if "missing" in str(error) and raised_at_the_call(error, __file__):
            raise ValueError(f"callback {choice!r} is called without arguments: {error}") from error
        raise


def options(config: Config) -> "dict[str, Option]":
    """All options of all parts that were chosen, each as one word or number, by name."""
    noted = recorded(config)
    return {
        name: value if isinstance(value, str | int | float) else "none" if value is None else " ".join(map(str, value))
        for name, value in flat(config).items()
        if name not in noted
    }
