"""The callbacks of a training, called together; one that changes parameters or metrics is refused."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from metarl.engine.soundness import unchanged
from metarl.metrics import numbers_by_name
from metarl.problem import Metrics
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.state import TrainState

ITERATION = "iteration"  # the name that files have for the number of the iteration


class CallbackList:
    """The callbacks of this rank, called together.

    Raises:
        ValueError: one is no `Callback`; (by the methods) one measures anything but numbers, or under a name that is
            taken, or changes parameters or metrics in place.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = listed(callbacks)

    @contextmanager
    def at_work(self, training: Training, state: TrainState) -> Iterator[None]:
        """Start the callbacks; at the end close those that were started, the last one first, whatever happened."""
        with ExitStack() as stack:
            for callback in self._callbacks:
                stack.push(_closing(callback))
                callback.start(training, state)
            yield

    def stage(self, words: str) -> None:
        """Tell all callbacks what is being done."""
        for callback in self._callbacks:
            callback.stage(words)

    def announce(self, words: str) -> None:
        """Let all callbacks show a sentence."""
        for callback in self._callbacks:
            callback.announce(words)

    def measure(self, state: TrainState, taken: Metrics) -> Metrics:
        """What the callbacks measure of the parameters; `taken` are metrics of the same iteration from elsewhere."""
        found: Metrics = {}
        for callback in self._callbacks:
            who = f"callback {type(callback).__name__}"
            with unchanged(f"{who} must not change the parameters in place", state.theta, state.outer_state):
                measured = callback.measure(state)
            for name, value in numbers_by_name(who, measured).items():
                if name in found or name in taken or name == ITERATION:
                    raise ValueError(f"{who} measures {name!r}, which is the name of another metric: choose another")
                found[name] = value
        return found

    def iteration(self, moment: Moment) -> None:
        """Tell all callbacks of an iteration that is done."""
        before = dict(moment.metrics)
        for callback in self._callbacks:
            who = f"callback {type(callback).__name__}"
            states = (moment.before.theta, moment.before.outer_state, moment.after.theta, moment.after.outer_state)
            with unchanged(f"{who} must not change the parameters in place", *states):
                callback.iteration(moment)
            if moment.metrics != before:
                raise ValueError(
                    f"{who} must not change the metrics of an iteration; its method measure() may add some"
                )


def listed(callbacks: Any) -> list[Callback]:
    """The list of callbacks that a list or any other iterable has. Raises ValueError for anything else."""
    is_list = isinstance(callbacks, Iterable) and not isinstance(callbacks, Callback)
    if not is_list:
        raise ValueError(f"callbacks must be a list of them; got {callbacks!r}")
    # An iterator can be looked through only once.
    found = list(callbacks)
    for callback in found:
        is_callback = isinstance(callback, Callback)
        if not is_callback:
            advice = ": make one by calling it" if isinstance(callback, type) else ""
            raise ValueError(f"callbacks must be of the class Callback; got {callback!r}{advice}")
    return found


def _closing(
    callback: Callback,
) -> Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], None]:
    """Make a context manager's exit that calls the callback's `close`."""
    return lambda kind, error, traceback: callback.close(error)
