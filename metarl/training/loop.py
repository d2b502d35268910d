"""The meta-training loop: collect -> outer step -> callbacks, the same for every problem."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

from metarl.engine.outer import OuterOptimizer
from metarl.engine.params import Params
from metarl.metrics import Metric, MetricTable
from metarl.problem import Metrics, Problem
from metarl.shard import ALONE, Shard
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.checkpoint import decode, encode
from metarl.training.distributed import agree, broadcast
from metarl.training.interruption import GRACE, StoppedError, no_exit, wishes
from metarl.training.state import TrainState, fitted, require_like

MAX_NONFINITE = 10
MEASURES = (
    Metric(name="time/outer", meaning="time for the outer step", unit="s", higher_is_better=False),
    Metric(name="time/iteration", meaning="time for the meta-iteration", unit="s", higher_is_better=False),
)


def train(
    problem: Problem,
    outer: OuterOptimizer,
    *,
    iterations: int,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    state: TrainState | None = None,
    log_every: int = 1,
    max_nonfinite: int = MAX_NONFINITE,
    grace: float = GRACE,
    shard: Shard = ALONE,
) -> TrainState:
    """Make outer steps until there were `iterations` of them, and return the final state.

    The metrics of iteration i are of theta_i, the parameters before its outer step.

    Args:
        problem: collects the data of an iteration.
        outer: takes its outer step.
        iterations: outer steps in all, with those that `state` has.
        seed: key of the fresh parameters.
        callbacks: see `Callback`; of several ranks the first has them.
        state: what to go on from; None: fresh parameters. Of several ranks, the first one's counts.
        log_every: iterations between those whose training metrics callbacks are shown; of a refused outer step they
            are shown whenever it is.
        max_nonfinite: stop after so many refused outer steps in a row for which something was not finite.
        grace: seconds that an iteration may go on after SIGTERM or SIGINT; see `interruption.wishes`.
        shard: which of several ranks this is.

    Raises:
        ValueError: a state of another network or optimiser, `max_nonfinite` reached, or ranks that disagree.
        StoppedError: SIGTERM or SIGINT; the callbacks know the last state.
        RuntimeError: the problem or a callback wanted to exit Python.
    """
    state = _begin(problem, outer, seed, state, shard)
    if state.iteration >= iterations:
        return state
    crew = _Crew(callbacks if shard.rank == 0 else ())
    measures = problem.measures + MetricTable(*outer.measures, *MEASURES)
    training = Training(problem, iterations, measures, crew.stage)
    with crew.at_work(training, state), wishes(crew.announce, grace) as wish, no_exit("the training"):
        streak = _Streak(max_nonfinite)
        while state.iteration < iterations:
            wish.done = state.iteration
            moment = _iterate(problem, outer, state, crew, streak, log_every)
            stop = agree(moment.after.theta, wish.signal is not None, shard)
            stop = stop and moment.after.iteration < iterations  # or it is complete
            crew.iteration(moment._replace(last=stop))
            state = moment.after
            if stop:
                raise StoppedError(wish.signal or signal.SIGTERM, state.iteration)  # or: another rank's wish
            streak.require_progress(state.iteration)
        wish.done = state.iteration
        moment = _judged(problem, state, state, crew.measure(state))
        crew.iteration(moment._replace(last=True))
    return moment.after


def fresh(problem: Problem, outer: OuterOptimizer, seed: int, theta: Params | None = None) -> TrainState:
    """The state before the first iteration.

    Args:
        problem, outer, seed: as `train`'s.
        theta: start from these parameters instead of random ones.

    Raises:
        ValueError: parameters of another network.
    """
    if theta is None:
        initial = problem.initial_parameters(seed)
    else:
        initial = fitted(theta, problem, "what training should start from", seed)
    return TrainState(0, initial, outer.init(initial), -math.inf)


def _begin(problem: Problem, outer: OuterOptimizer, seed: int, state: TrainState | None, shard: Shard) -> TrainState:
    """The first rank's state on all ranks, on the device of the problem."""
    new = fresh(problem, outer, seed)
    state = decode(broadcast(encode(state or new) if shard.rank == 0 else b"", shard), Path("the first rank's state"))
    require_like(state.theta, new.theta, f"the state after {state.iteration} iterations")
    require_like(state.outer_state, new.outer_state, f"the state after {state.iteration} iterations")
    return state._replace(
        theta={name: state.theta[name].to(leaf.device) for name, leaf in new.theta.items()},
        outer_state={name: state.outer_state[name].to(leaf.device) for name, leaf in new.outer_state.items()},
    )


def _iterate(
    problem: Problem, outer: OuterOptimizer, state: TrainState, crew: "_Crew", streak: "_Streak", log_every: int
) -> Moment:
    """One meta-iteration, and what is measured of it."""
    crew.stage("collecting")
    start = time.perf_counter()
    objective, metrics = problem.collect(state.theta, state.iteration)
    crew.stage("outer step")
    collected = time.perf_counter()
    theta, outer_state, info = outer.step(state.theta, state.outer_state, objective)
    if not info["nonfinite"]:
        theta = problem.refresh(theta, objective)
    refused = streak.count(info)
    if metrics or refused:
        metrics |= {f"outer/{name}": value for name, value in info.items()}
        metrics["time/outer"] = time.perf_counter() - collected
        metrics["time/iteration"] = time.perf_counter() - start
    if "env_steps" in metrics:
        metrics["env_steps"] += state.env_steps
    after = state._replace(
        iteration=state.iteration + 1,
        theta=theta,
        outer_state=outer_state,
        env_steps=metrics.get("env_steps", state.env_steps),
    )
    measured = crew.measure(state)
    moment = _judged(problem, state, after, metrics | measured, refused=refused)
    shown = refused or state.iteration % log_every == 0
    return moment if shown else moment._replace(metrics=measured)


def _judged(
    problem: Problem, before: TrainState, after: TrainState, metrics: Metrics, *, refused: bool = False
) -> Moment:
    """The moment with these metrics of `before`; if they are the best so far, both states know."""
    score = problem.score(metrics)
    best = score is not None and score > before.best_score
    if score is not None and best:
        before, after = before._replace(best_score=score), after._replace(best_score=score)
    return Moment(before, after, metrics, refused, best, last=False)


class _Crew:
    """All callbacks of this rank as one."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = callbacks

    @contextmanager
    def at_work(self, training: Training, state: TrainState) -> Iterator[None]:
        """Start the callbacks, and close all that were started, the last one first, whatever happens."""
        with ExitStack() as stack:
            for callback in self._callbacks:
                stack.push(_closing(callback))
                callback.start(training, state)
            yield

    def stage(self, words: str) -> None:
        for callback in self._callbacks:
            callback.stage(words)

    def announce(self, words: str) -> None:
        for callback in self._callbacks:
            callback.announce(words)

    def measure(self, state: TrainState) -> Metrics:
        return {name: value for callback in self._callbacks for name, value in callback.measure(state).items()}

    def iteration(self, moment: Moment) -> None:
        for callback in self._callbacks:
            callback.iteration(moment)


def _closing(
    callback: Callback,
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]:
    """The callback's `close` as a context manager's exit."""
    return lambda kind, error, traceback: callback.close(error)


class _Streak:
    """How many outer steps in a row were refused because something was not finite."""

    def __init__(self, limit: int) -> None:
        self._limit, self._length = limit, 0
        self._what: set[str] = set()

    def count(self, info: Metrics) -> bool:
        """Whether this outer step was refused."""
        if info["nonfinite"]:
            self._length += 1
        else:
            self._length = 0
            self._what = set()
        prefix = "nonfinite_"
        self._what |= {name.removeprefix(prefix) for name in info if name.startswith(prefix)}
        return info.get("accepted", 1.0 - info["nonfinite"]) == 0.0

    def require_progress(self, iteration: int) -> None:
        """Raise ValueError after `limit` such steps."""
        if self._length >= self._limit:
            raise ValueError(
                f"stopped after iteration {iteration - 1}: the last {self._length} outer steps were refused, "
                f"for the {' and the '.join(sorted(self._what))} was not finite. The parameters are those before; "
                "try a smaller inner step size, or look at the environment's rewards"
            )
