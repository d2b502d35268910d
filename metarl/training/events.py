"""What TensorBoard shows of a run beside its metrics: its configuration, charts that lay metrics over each other."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams

from metarl.training.config import Config
from metarl.training.run_directory import MAY_CHANGE, command_line

FOLDER = "evaluation"  # of a run directory: a second run for TensorBoard, whose x-axis is the gradient step


def describe(writer: SummaryWriter, config: Config, step: int) -> None:
    """Configuration and command, hyperparameters beside final scores, the scores of all gradient steps on one chart."""
    writer.add_text("command", f"```\n{command_line()}\n```", step)
    charts = {title: ["Multiline", [rf"{curve}_step\d+"]] for title, curve in _curves(config).items()}
    times = {"seconds": ["Multiline", ["time/(sample|adapt|outer|iteration)"]]}
    _add(writer, step, custom_scalars({"after each gradient step": charts, "where the time goes": times}))

    _add_configuration(writer, config, step)


def write_adaptation(run_dir: Path, config: Config, steps: Sequence[dict[str, Any]], figure: Figure) -> None:
    """Scores of an evaluation over gradient steps, and its figure, in place of those of an earlier one.

    The last mean is the run's among the hyperparameters, by which all methods compare: a random policy trains nothing.
    Not in the run directory itself: TensorBoard follows only the newest events of a directory.

    Args:
        run_dir: the run directory.
        config: with which it was evaluated.
        steps: the summaries that `write_evaluation` returns.
        figure: of this run alone.
    """
    place = run_dir / FOLDER
    for earlier in place.glob("events.out.tfevents.*"):
        earlier.unlink()
    with SummaryWriter(str(place)) as writer:
        for summary in steps:
            for name in ("mean", "interquartile_mean", "median"):
                writer.add_scalar(
                    f"{_held_out(config)}/{name}", summary[config.problem.score][name], summary["gradient_steps"]
                )
        writer.add_figure("held-out tasks", figure, close=False)
        _add_configuration(writer, config, 0)


def _curves(config: Config) -> dict[str, str]:
    """Titles of the learning curves -> their metric, without the number of gradient steps."""
    validation = {"validation tasks": f"evaluation/{config.learning_curve.split('/')[-1]}"}
    return {"meta-training": config.learning_curve} | (validation if config.evaluate_every else {})


def _held_out(config: Config) -> str:
    return f"held-out tasks/{config.problem.score}"


def _add_configuration(writer: SummaryWriter, config: Config, step: int) -> None:
    """The configuration as text, and as hyperparameters beside last values: TensorBoard takes one list of all runs."""
    curves = _curves(config).values()
    scores = [f"{curve}_step{step}" for curve in curves for step in range(config.adaptation_steps + 1)]
    values = _flat(config)
    rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
    writer.add_text("configuration", f"| option | value |\n| --- | --- |\n{rows}", step)
    unimportant = {*MAY_CHANGE, "problem", *(name for name in values if name.startswith("evaluation_"))}
    hyperparameters = {name: value for name, value in values.items() if name not in unimportant}
    _add(
        writer, step, *hparams(hyperparameters, dict.fromkeys([f"{_held_out(config)}/mean", *scores], 0.0))
    )  # the plugin looks up their last values


def _add(writer: SummaryWriter, step: int, *summaries: Any) -> None:
    assert writer.file_writer is not None  # until it is closed
    for summary in summaries:
        writer.file_writer.add_summary(summary, step)


def _flat(config: Config) -> dict[str, str | int | float]:
    """Every option as one word or number, those of the environment under their own names."""
    values = config.to_dict()
    values |= values.pop("environment_options", {})
    return {
        name: value if isinstance(value, str | int | float) else "none" if value is None else " ".join(map(str, value))
        for name, value in values.items()
    }
