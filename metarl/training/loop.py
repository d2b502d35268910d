"""The meta-training loop: collect -> outer step -> log -> checkpoint, the same for every problem."""

import math
import signal
import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from metarl.engine.outer import OuterOptimizer
from metarl.problem import Metrics, Problem
from metarl.shard import ALONE, Shard
from metarl.training.checkpoint import Checkpoint, decode, encode, save
from metarl.training.config import Config
from metarl.training.distributed import agree, broadcast
from metarl.training.evaluation import validation_pictures, validation_scores
from metarl.training.interruption import StoppedError, wishes
from metarl.training.records import Records, records, save_last
from metarl.training.run_directory import BEST, claimed, update_config


def train(
    problem: Problem,
    outer: OuterOptimizer,
    config: Config,
    run_dir: Path,
    console: Console,
    *,
    resume: bool = False,
    shard: Shard = ALONE,
) -> Checkpoint:
    """Run (or go on with) the configured outer steps in `run_dir`, and return the final state.

    Iteration i is logged with the scores of theta_i, the parameters before its outer step; best.pt holds the theta_i
    with the best of the problem's own scores, checkpoint.pt the parameters after the last outer step. Of several ranks
    the first reads and writes.

    Raises:
        ValueError, OSError: the directory is not this run's to write, or cannot be (see `run_directory.claimed`).
        ValueError: too many outer steps in a row were refused because something was not finite, or ranks that disagree.
        StoppedError: SIGTERM or SIGINT; a checkpoint was written.
    """
    with ExitStack() as stack:
        state = _start(problem, outer, config, run_dir, stack, resume=resume, shard=shard)
        first = state.iteration
        if first >= config.outer_steps:  # nothing to do; but the next evaluation may be another
            if shard.rank == 0:
                update_config(run_dir, config)
            return state
        wish = stack.enter_context(wishes(console))
        book = stack.enter_context(records(run_dir, config, first, console, rank=shard.rank))
        tally = Tally(config)
        while state.iteration < config.outer_steps:
            state = _iterate(problem, outer, config, state, book, tally)
            stop = agree(state.theta, wish.signal is not None, shard)
            if stop or state.iteration % config.checkpoint_every == 0 or state.iteration == config.outer_steps:
                book.save(state)
            if stop:
                raise StoppedError(wish.signal or signal.SIGTERM, state.iteration)  # or: another rank's wish
            tally.require_progress(state.iteration)
    return state


def _iterate(
    problem: Problem, outer: OuterOptimizer, config: Config, state: Checkpoint, book: Records, tally: "Tally"
) -> Checkpoint:
    """One meta-iteration, and what is measured and logged of it; after the last one the final parameters are scored."""
    iteration, start = state.iteration, time.perf_counter()
    objective, metrics = problem.collect(state.theta, iteration)
    collected = time.perf_counter()
    theta, outer_state, info = outer.step(state.theta, state.outer_state, objective)
    theta = problem.refresh(theta, objective)
    refused = tally.count(info)
    if metrics or refused:
        metrics |= {f"outer/{name}": value for name, value in info.items()}
        metrics["time/outer"] = time.perf_counter() - collected
        metrics["time/iteration"] = time.perf_counter() - start
    if "env_steps" in metrics:
        metrics["env_steps"] += state.env_steps
    if book.writes and config.evaluate_every and iteration % config.evaluate_every == 0:
        metrics |= validation_scores(problem, state.theta, config)
    if book.writes and config.render_every and iteration % config.render_every == 0:
        book.show(iteration, validation_pictures(problem, state.theta, config))
    state = book.keep_best(problem, state, metrics)
    if metrics:
        book.log(iteration, metrics, tally.status(metrics))
    state = state._replace(
        iteration=iteration + 1,
        theta=theta,
        outer_state=outer_state,
        env_steps=metrics.get("env_steps", state.env_steps),
    )
    if book.writes and state.iteration == config.outer_steps and config.evaluate_every:
        metrics = validation_scores(problem, state.theta, config)
        state = book.keep_best(problem, state, metrics)
        book.log(state.iteration, metrics, tally.status({}))
    return state


def _start(
    problem: Problem,
    outer: OuterOptimizer,
    config: Config,
    run_dir: Path,
    stack: ExitStack,
    *,
    resume: bool,
    shard: Shard,
) -> Checkpoint:
    """The state to go on from, on the configured device: the last checkpoint, or fresh parameters, saved."""
    encoded = b""
    if shard.rank == 0:
        state = stack.enter_context(claimed(run_dir, config, resume=resume))
        if state is None:
            theta = problem.initial_parameters(config.seed)
            state = Checkpoint(config.to_dict(), 0, theta, outer.init(theta), -math.inf)
            save(run_dir / BEST, state)  # first: a run that has a last checkpoint has a best one
            save_last(run_dir, state)
        encoded = encode(state)
    state = decode(broadcast(encoded, shard), run_dir)  # whatever the number of ranks, the same way
    return state._replace(
        theta={name: leaf.to(config.device) for name, leaf in state.theta.items()},
        outer_state={name: leaf.to(config.device) for name, leaf in state.outer_state.items()},
    )


class Tally:
    """How many outer steps were refused, and the text beside the progress bar."""

    def __init__(self, config: Config) -> None:
        self._config, self._words = config, ""
        self._steps = self._refused = self._nonfinite = 0  # the last: in a row
        self._what: set[str] = set()

    def count(self, info: Metrics) -> bool:
        """Whether this outer step was refused."""
        refused = info.get("accepted", 1.0 - info["nonfinite"]) == 0.0
        self._steps += 1
        self._refused += refused
        self._nonfinite = self._nonfinite + 1 if info["nonfinite"] else 0
        self._what = self._what if self._nonfinite > 1 else set()
        self._what |= {name.removeprefix("nonfinite_") for name in info if name.startswith("nonfinite_")}
        return refused

    def require_progress(self, iteration: int) -> None:
        """Raises ValueError after `max_nonfinite` steps in a row that were refused because something was not finite."""
        if self._nonfinite >= self._config.max_nonfinite:
            raise ValueError(
                f"stopped after iteration {iteration - 1}: the last {self._nonfinite} outer steps were refused, "
                f"for the {' and the '.join(sorted(self._what))} was not finite. The parameters are those before; "
                "try a smaller inner step size, or look at the environment's rewards"
            )

    def status(self, metrics: Metrics) -> str:
        """The score after each gradient step, as last measured, how many outer steps were refused, what broke."""
        curve = f"{self._config.learning_curve}_step"
        if scores := [f"{value:.4g}" for name, value in metrics.items() if name.startswith(curve)]:
            self._words = f"{self._config.learning_curve.split('/')[-1]} {' -> '.join(scores)}"
        refused = f"{self._refused} of {self._steps} steps rejected" if self._refused else ""
        broken = f"{share:.1%} of episodes broken" if (share := metrics.get("rollout/broken")) else ""
        return "; ".join(filter(None, (self._words, refused, broken)))
