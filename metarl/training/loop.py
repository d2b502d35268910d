"""The meta-training loop: collect -> outer step -> log -> checkpoint, the same for every problem."""

import math
import time
from pathlib import Path

from rich.console import Console

from metarl.engine.outer import OuterOptimizer
from metarl.problem import Metrics, Problem
from metarl.training.checkpoint import Checkpoint, save
from metarl.training.config import Config
from metarl.training.evaluation import validation_pictures, validation_scores
from metarl.training.logger import Logger
from metarl.training.run_directory import BEST, LAST, claim


def train(
    problem: Problem, outer: OuterOptimizer, config: Config, run_dir: Path, console: Console, *, resume: bool = False
) -> Checkpoint:
    """Run (or go on with) the configured outer steps in `run_dir`, and return the final state.

    Iteration i is logged with the scores of theta_i, the parameters before its outer step; best.pt holds the theta_i
    with the best of the problem's own scores, checkpoint.pt the parameters after the last outer step.

    Raises:
        ValueError, OSError: the directory is not this run's to write (see `run_directory.claim`).
    """
    state = _start(problem, outer, config, run_dir, resume=resume)
    first, rejected, status = state.iteration, 0, ""
    if first >= config.outer_steps:
        return state  # nothing to do, and nothing to write

    with Logger(run_dir, config, first, console) as logger:
        for iteration in range(first, config.outer_steps):
            start = time.perf_counter()
            objective, metrics = problem.collect(state.theta, iteration)
            collected = time.perf_counter()
            theta, outer_state, info = outer.step(state.theta, state.outer_state, objective)
            refused = info.get("accepted", 1.0 - info["nonfinite"]) == 0.0
            rejected += refused
            if metrics or refused:
                metrics |= {f"outer/{name}": value for name, value in info.items()}
                metrics["time/outer"] = time.perf_counter() - collected
                metrics["time/iteration"] = time.perf_counter() - start
            if "env_steps" in metrics:
                metrics["env_steps"] += state.env_steps
            if config.evaluate_every and iteration % config.evaluate_every == 0:
                metrics |= validation_scores(problem, state.theta, config)
            if config.render_every and iteration % config.render_every == 0:
                logger.show(iteration, validation_pictures(problem, state.theta, config))
            state = _keep_best(run_dir, problem, state, metrics)
            if metrics:
                status = _status(config, metrics, rejected, iteration + 1 - first) or status
                logger.log(iteration, metrics, status)
            state = state._replace(
                iteration=iteration + 1,
                theta=theta,
                outer_state=outer_state,
                env_steps=metrics.get("env_steps", state.env_steps),
            )
            if state.iteration == config.outer_steps and config.evaluate_every:
                metrics = validation_scores(problem, state.theta, config)
                state = _keep_best(run_dir, problem, state, metrics)
                logger.log(state.iteration, metrics, status)
            if state.iteration % config.checkpoint_every == 0 or state.iteration == config.outer_steps:
                save(run_dir / LAST, state)
    return state


def _start(problem: Problem, outer: OuterOptimizer, config: Config, run_dir: Path, *, resume: bool) -> Checkpoint:
    """The state to go on from, on the configured device: the last checkpoint, or fresh parameters, saved."""
    state = claim(run_dir, config, resume=resume)
    if state is None:
        theta = problem.initial_parameters(config.seed)
        state = Checkpoint(config.to_dict(), 0, theta, outer.init(theta), -math.inf)
        save(run_dir / BEST, state)  # first: a run that has a last checkpoint has a best one
        save(run_dir / LAST, state)
    return state._replace(
        theta={name: leaf.to(config.device) for name, leaf in state.theta.items()},
        outer_state={name: leaf.to(config.device) for name, leaf in state.outer_state.items()},
    )


def _keep_best(run_dir: Path, problem: Problem, state: Checkpoint, metrics: Metrics) -> Checkpoint:
    """Write best.pt if the metrics of the present parameters are the best so far."""
    score = problem.score(metrics)
    if score is not None and score > state.best_score:
        state = state._replace(best_score=score)
        save(run_dir / BEST, state)
    return state


def _status(config: Config, metrics: Metrics, rejected: int, steps: int) -> str:
    """The text beside the progress bar: the score after each gradient step, and how many outer steps were refused."""
    curve = f"{config.learning_curve}_step"
    scores = [f"{value:.4g}" for name, value in metrics.items() if name.startswith(curve)]
    if not scores:
        return ""  # not measured in this iteration
    words = f"{config.learning_curve.split('/')[-1]} {' -> '.join(scores)}"
    return words + (f"; {rejected} of {steps} steps rejected" if rejected else "")
