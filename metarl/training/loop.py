"""The meta-training loop: collect -> outer step -> callbacks, the same for every problem."""

import math
import signal
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from metarl.arguments import require_built
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import Info, OuterOptimizer, State, nonfinite, refused
from metarl.engine.params import Params, finite
from metarl.engine.soundness import require_state, unchanged
from metarl.metrics import Metric, MetricTable, numbers_by_name
from metarl.problem import Metrics, Problem
from metarl.shard import ALONE, Shard
from metarl.training.callback_list import CallbackList
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.checkpoint import decode, encode
from metarl.training.distributed import agree, broadcast
from metarl.training.interruption import GRACE, StoppedError, no_exit, wishes
from metarl.training.state import TrainState, fitted, require_like

MAX_NONFINITE = 10
NOTHING_TO_LEARN = 10  # meta-gradients of zero in a row, as of rewards that are sparse at first, before a warning
MEASURES = (
    Metric(name="time/outer", meaning="time for the outer step", unit="s", higher_is_better=False),
    Metric(name="time/iteration", meaning="time for the meta-iteration", unit="s", higher_is_better=False),
    Metric(
        name="time/processor",
        meaning="processor time of this process for the meta-iteration, summed over its threads",
        unit="s",
        higher_is_better=False,
    ),
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
    """Take outer steps until there were `iterations` of them, and return the final state.

    The metrics of iteration i are of theta_i, the parameters before its outer step.

    Args:
        problem: collects the data of an iteration.
        outer: takes the outer step.
        iterations: outer steps in all, including those that `state` has.
        seed: key of the fresh parameters.
        callbacks: see `Callback`; only the first rank calls them.
        state: the state to go on from; None: fresh parameters. All ranks take the first rank's.
        log_every: iterations between those whose training metrics callbacks are shown; metrics of a refused outer step
            are always shown.
        max_nonfinite: stop after this many outer steps in a row that were refused because something was not finite.
        grace: seconds that an iteration may go on after SIGTERM or SIGINT; see `interruption.wishes`.
        shard: which of several ranks this is.

    Raises:
        ValueError: the state is of another network or optimiser, `max_nonfinite` was reached, or ranks disagree.
        StoppedError: SIGTERM or SIGINT came; the callbacks were given the last state.
        RuntimeError: the problem or a callback tried to exit Python.
    """
    state = _begin(problem, outer, seed, state, shard)
    if state.iteration >= iterations:
        return state
    callback_list = CallbackList(callbacks if shard.rank == 0 else ())
    measures = problem.measures + MetricTable(*outer.measures, *MEASURES)
    training = Training(problem, iterations, measures, callback_list.stage)
    with callback_list.at_work(training, state), wishes(callback_list.announce, grace) as wish, no_exit("the training"):
        streak = _Streak(max_nonfinite)
        while state.iteration < iterations:
            wish.done = state.iteration
            moment = _iterate(problem, outer, state, callback_list, streak, log_every)
            wanted = agree(moment.after.theta, wish.signal is not None, shard)
            # A training whose last iteration is done is complete, not stopped.
            stop = wanted and moment.after.iteration < iterations
            callback_list.iteration(moment._replace(last=stop))
            state = moment.after
            if stop:
                # Without a signal here, another rank had one.
                raise StoppedError(wish.signal or signal.SIGTERM, state.iteration)
            streak.require_progress(state.iteration)
        wish.done = state.iteration
        moment = _judged(problem, state, state, callback_list.measure(state, {}))
        callback_list.iteration(moment._replace(last=True))
    return moment.after


def fresh(problem: Problem, outer: OuterOptimizer, seed: int, theta: Params | None = None) -> TrainState:
    """The state before the first iteration.

    Args:
        problem: see `train`.
        outer: see `train`.
        seed: see `train`.
        theta: start from these parameters instead of random ones.

    Raises:
        ValueError: `theta` is of another network or not finite, the optimiser is not built, or its state is not of
            tensors.
    """
    require_built(outer=(outer, OuterOptimizer))
    if theta is None:
        initial = problem.initial_parameters(seed)
    else:
        initial = fitted(theta, problem, "what training should start from", seed)
        if not finite(initial):
            raise ValueError("what training should start from is not finite")
    outer_state = outer.init(initial)
    require_state("the state of an outer optimiser", outer_state, outer_state)
    return TrainState(0, initial, outer_state, -math.inf)


def _begin(problem: Problem, outer: OuterOptimizer, seed: int, state: TrainState | None, shard: Shard) -> TrainState:
    """Give all ranks the first rank's state, or a fresh one, on the device of the problem."""
    new = fresh(problem, outer, seed)
    state = decode(broadcast(encode(state or new) if shard.rank == 0 else b"", shard), Path("the first rank's state"))
    require_like(state.theta, new.theta, f"the state after {state.iteration} iterations")
    require_like(state.outer_state, new.outer_state, f"the state after {state.iteration} iterations")
    return state._replace(
        theta={name: state.theta[name].to(leaf.device) for name, leaf in new.theta.items()},
        outer_state={name: state.outer_state[name].to(leaf.device) for name, leaf in new.outer_state.items()},
    )


def _iterate(
    problem: Problem,
    outer: OuterOptimizer,
    state: TrainState,
    callback_list: CallbackList,
    streak: "_Streak",
    log_every: int,
) -> Moment:
    """Make one meta-iteration, and measure it."""
    callback_list.stage("collecting")
    start = time.perf_counter()
    processor = time.process_time()
    objective, metrics = problem.collect(state.theta, state.iteration)
    # What compiles nothing need not say so.
    compiles = getattr(objective, "must_compile", False)
    callback_list.stage("outer step, compiled first" if compiles else "outer step")
    collected = time.perf_counter()
    theta, outer_state, info = _stepped(outer, state, objective)
    if not info["nonfinite"]:
        theta = problem.refresh(theta, objective)
    is_refused = streak.count(info)
    streak.warn_of_nothing_to_learn(info, state.iteration)
    if metrics or is_refused:
        metrics |= {f"outer/{name}": value for name, value in info.items()}
        metrics["time/outer"] = time.perf_counter() - collected
        metrics["time/iteration"] = time.perf_counter() - start
        metrics["time/processor"] = time.process_time() - processor
    if "env_steps" in metrics:
        metrics["env_steps"] += state.env_steps
    after = state._replace(
        iteration=state.iteration + 1,
        theta=theta,
        outer_state=outer_state,
        env_steps=metrics.get("env_steps", state.env_steps),
    )
    measured = callback_list.measure(state, metrics)
    moment = _judged(problem, state, after, metrics | measured, refused=is_refused)
    shown = is_refused or state.iteration % log_every == 0
    return moment if shown else moment._replace(metrics=measured)


def _stepped(outer: OuterOptimizer, state: TrainState, objective: MetaObjective) -> tuple[Params, State, Info]:
    """Take an outer step. One that makes parameters that are not finite is refused.

    Raises:
        ValueError: the optimiser changes what it is given in place, or makes parameters or a state of other names,
            shapes or dtypes, or with a gradient.
    """
    with unchanged("an outer optimiser must not change parameters or state in place", state.theta, state.outer_state):
        stepped = outer.step(state.theta, state.outer_state, objective)
    if not (isinstance(stepped, tuple | list) and len(stepped) == 3):
        got = f"{len(stepped)} results" if isinstance(stepped, tuple | list) else type(stepped).__name__
        raise ValueError(f"an outer step must give parameters, state and info; got {got}")
    theta, outer_state, info = stepped
    require_state("an outer step", theta, state.theta)
    require_state("the state of an outer optimiser", outer_state, state.outer_state)
    info = numbers_by_name("an outer step", info)
    info.setdefault("nonfinite", 0.0)
    if not info["nonfinite"] and not finite(theta):
        return state.theta, state.outer_state, info | nonfinite(parameters=math.nan)
    return theta, outer_state, info


def _judged(
    problem: Problem, before: TrainState, after: TrainState, metrics: Metrics, *, refused: bool = False
) -> Moment:
    """The moment with these metrics of `before`; if its score is the best so far, both states get it."""
    score = problem.score(metrics)
    best = score is not None and score > before.best_score
    if score is not None and best:
        before = before._replace(best_score=score)
        after = after._replace(best_score=score)
    return Moment(before, after, metrics, refused, best, last=False)


class _Streak:
    """The number of outer steps in a row that were refused because something was not finite."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._length = 0
        self._what: set[str] = set()
        self._without_gradient = 0  # outer steps in a row

    def warn_of_nothing_to_learn(self, info: Metrics, iteration: int) -> None:
        """Warn where so many meta-gradients in a row were exactly zero."""
        self._without_gradient = self._without_gradient + 1 if info.get("grad_norm") == 0.0 else 0
        if self._without_gradient == NOTHING_TO_LEARN:
            warnings.warn(
                f"the last {NOTHING_TO_LEARN} meta-gradients, up to iteration {iteration}, were exactly zero: are all "
                "rewards the same (or is there one timestep in all), or does the model not depend on its parameters?",
                stacklevel=2,
            )

    def count(self, info: Metrics) -> bool:
        """Count an outer step, and tell whether it was refused, for whatever reason."""
        if info["nonfinite"]:
            self._length += 1
        else:
            self._length = 0
            self._what = set()
        prefix = "nonfinite_"
        self._what |= {name.removeprefix(prefix) for name in info if name.startswith(prefix)}
        return refused(info)

    def require_progress(self, iteration: int) -> None:
        """Raise ValueError after `limit` outer steps in a row with something that was not finite."""
        if self._length >= self._limit:
            raise ValueError(
                f"stopped after iteration {iteration - 1}: the last {self._length} outer steps were refused, "
                f"for the {' and the '.join(sorted(self._what))} was not finite. The parameters are those before; "
                "try a smaller inner step size, or look at the environment's rewards"
            )
