"""A run as one call: training in a directory of its own, and scores on tasks that training never sees."""

import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike
from rich.console import Console

from metarl.arguments import path_of, require_at_most, require_built, require_integers, require_seconds, require_truths
from metarl.engine.outer import OuterOptimizer
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule
from metarl.numeric import numeric, shown
from metarl.problem import Evaluation, Problem
from metarl.problems import MOST_AT_A_TIME
from metarl.randomness import Purpose
from metarl.shard import ALONE, Shard
from metarl.surroundings import usual_torch
from metarl.training import loop
from metarl.training.callback_list import listed
from metarl.training.callbacks.callback import Callback
from metarl.training.callbacks.checkpoints import Checkpoints, save_last
from metarl.training.callbacks.console import ConsoleProgress
from metarl.training.callbacks.csv import Csv
from metarl.training.callbacks.optional_tensorboard import event_files
from metarl.training.checkpoint import load, save
from metarl.training.interruption import GRACE
from metarl.training.lasting_stream import LastingStream
from metarl.training.run_directory import BEST, CONFIG, METRICS, Identity, claimed, plain_identity, update_config
from metarl.training.state import TrainState, fitted


@usual_torch()
def train(
    problem: Problem,
    outer: OuterOptimizer,
    *,
    run_dir: str | Path,
    iterations: int,
    seed: int = 0,
    callbacks: Iterable[Callback] = (),
    sinks: Iterable[Callback] | None = None,
    resume: bool = False,
    initial_parameters: Params | str | Path | None = None,
    checkpoint_every: int = 1,
    keep_every: int = 0,
    log_every: int = 1,
    max_nonfinite: int = loop.MAX_NONFINITE,
    grace: float = GRACE,
    config: Mapping[str, Any] | Identity | None = None,
    shard: Shard = ALONE,
) -> TrainState:
    """Meta-train in `run_dir`, with checkpoints there, and return the final state.

    Args:
        problem: what to train on, such as a `MetaRL` or a `MetaSupervised`.
        outer: the outer optimiser.
        run_dir: the run directory, which is made if it is missing.
        iterations: outer steps in all.
        seed: key of the fresh parameters. The problem has its own for everything else.
        callbacks: callbacks beside the sinks, such as `Validation` or one of your own; see `Callback`.
        sinks: callbacks that write the metrics. None: metrics.csv, TensorBoard (if it is installed) and
            the console.
        resume: go on with the run in `run_dir`, bitwise as if it had never stopped. Where it holds none a run begins,
            with a warning.
        initial_parameters: parameters to start from; another run's directory, whose best parameters are taken; or the
            file of a checkpoint, or of an agent. They have no effect, but for a warning, where a run goes on.
        checkpoint_every: iterations between checkpoints.
        keep_every: iterations between checkpoints that are kept for good, as checkpoint-NUMBER.pt; 0: none.
        log_every: iterations between those whose training metrics sinks and callbacks are shown.
        max_nonfinite: stop after this many outer steps in a row that were refused because something was not finite.
        grace: seconds that an iteration may go on after SIGTERM or SIGINT.
        config: plain values that are kept with the run, and that a resume must repeat. None: the seed.
        shard: which of several ranks this is; only the first one reads and writes files.

    Raises:
        ValueError: a number is out of its bounds, problem, optimiser or callbacks are none, this run may not write to
            the directory (see `run_directory.claimed`), parameters are of another network, `max_nonfinite` was reached,
            or ranks disagree.
        OSError: the directory cannot be written.
        StoppedError: SIGTERM or SIGINT came; a checkpoint was written.
        RuntimeError: the problem or a callback tried to exit Python.
    """
    require_integers(0, seed=seed, iterations=iterations, keep_every=keep_every)
    require_integers(1, checkpoint_every=checkpoint_every, log_every=log_every, max_nonfinite=max_nonfinite)
    require_truths(resume=resume)
    require_seconds(grace=grace)
    _require_problem(problem)
    require_built(shard=(shard, Shard))
    own = listed(callbacks)
    # Whole, because an environment may move the process to another folder.
    place = path_of("run_dir", run_dir).absolute()
    identity = config if isinstance(config, Identity) else plain_identity({"seed": seed} if config is None else config)
    watching = [*own, *(standard_sinks(place, log_every) if sinks is None else sinks)]
    with ExitStack() as stack:
        state = None
        if shard.rank == 0:
            # A run with no directory yet is made ready first, so that what is refused leaves none behind.
            is_new = not (place / CONFIG).is_file()
            begun = _first_state(problem, outer, seed, initial_parameters) if is_new else None
            if is_new and iterations:
                getattr(problem, "prepare", lambda: None)()
            state = stack.enter_context(claimed(place, identity, resume=resume))
            if state is None:
                state = begun or _first_state(problem, outer, seed, initial_parameters)
                state = state._replace(config=identity.values)
                # The best parameters come first, so that a run with a last checkpoint always has them.
                save(place / BEST, state)
                save_last(place, state)
            else:
                _go_on(place, state, identity, iterations, has_source=initial_parameters is not None)
        return loop.train(
            problem,
            outer,
            iterations=iterations,
            seed=seed,
            callbacks=[*watching, Checkpoints(place, checkpoint_every, keep_every)],
            state=state,
            log_every=log_every,
            max_nonfinite=max_nonfinite,
            grace=grace,
            shard=shard,
        )


def _go_on(place: Path, state: TrainState, identity: Identity, iterations: int, *, has_source: bool) -> None:
    """Warn of what has no effect on a run that goes on from `state`, and keep its new options if it is complete."""
    callers_line = 4  # past `train` and the wrapper that `usual_torch` puts around it
    if has_source:
        words = f"{place} goes on from its own, after {state.iteration} iterations"
        warnings.warn(f"initial parameters have no effect: {words}", stacklevel=callers_line)
    if state.iteration > iterations:
        made = f"{place} has made {state.iteration} iterations"
        warnings.warn(f"{made}: to end after {iterations} means nothing for it any more", stacklevel=callers_line)
    if state.iteration >= iterations:
        # No iteration is left to do, but the options of the next evaluation may have changed.
        update_config(place, identity.values)


def standard_sinks(run_dir: Path, log_every: int = 1) -> list[Callback]:
    """Make the callbacks for metrics.csv and, if installed, TensorBoard in the run directory, and for the console."""
    # Without a standard error, as in windows of some systems, there is nobody to show it to.
    stream = LastingStream(sys.stderr) if sys.stderr is not None else None
    console = ConsoleProgress(Console(file=cast(Any, stream), markup=False, quiet=stream is None))
    return [Csv(run_dir / METRICS, log_every), *event_files(run_dir), console]


@usual_torch()
def evaluate(
    problem: Problem,
    theta: Params,
    *,
    rule: InnerRule,
    steps: int = 1,
    tasks: int | ArrayLike = 40,
    seed: int = 0,
) -> Evaluation:
    """Score parameters on held-out tasks after 0 .. `steps` gradient steps.

    Args:
        problem: the problem that the parameters were trained on.
        theta: the parameters.
        rule: the inner rule with the step sizes of the evaluation.
        steps: gradient steps.
        tasks: how many tasks to draw that training never sees, or the tasks themselves, [N, k].
        seed: key of the tasks that are drawn, and of their data.

    Raises:
        ValueError: there is no task, a number is out of its bounds, the rule is not built, or the parameters do not
            fit the problem.
    """
    _require_problem(problem)
    require_built(rule=(rule, InnerRule))
    require_integers(0, steps=steps, seed=seed)
    if isinstance(tasks, int | np.integer):
        require_integers(1, tasks=tasks)
        require_at_most(MOST_AT_A_TIME, tasks=int(tasks))
        rows = problem.sample_tasks(seed, Purpose.EVALUATION_TASKS, count=int(tasks))
    else:
        numbers = numeric(tasks)
        if numbers is None or numbers.ndim != 2 or len(numbers) == 0:
            got = shown(tasks) if numbers is None else numbers.shape
            raise ValueError(f"tasks must be numbers of the shape [N, k], with at least one of them; got {got}")
        rows = numbers.astype(np.float64)
    return problem.evaluate(fitted(theta, problem, "theta"), rule, steps, rows, seed)


def _require_problem(problem: Any) -> None:
    """Raise ValueError for a class, the options of a problem, or anything else that is none."""
    if isinstance(problem, type) or not hasattr(problem, "collect"):
        advice = "; an agent has one, agent.problem" if hasattr(problem, "problem") else ""
        raise ValueError(f"problem must be a Problem, such as a MetaRL; got {shown(problem)}{advice}")


def _first_state(problem: Problem, outer: OuterOptimizer, seed: int, source: Params | str | Path | None) -> TrainState:
    """The state before the first iteration, of fresh parameters, or of given ones; see `train`.

    Raises:
        ValueError: the directory or file has none, or they are of another network.
    """
    theta = source
    if isinstance(theta, str | Path):
        place = path_of("initial_parameters", theta)
        theta = load(place if place.is_file() else place / BEST).theta
    return loop.fresh(problem, outer, seed, theta)
