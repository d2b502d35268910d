"""The base of callbacks, which watch a training without changing its numbers: files, charts, progress, films.

class Slowest(Callback):
    '''Remember the longest iteration.'''

    seconds = 0.0

    def iteration(self, moment: Moment) -> None:
        self.seconds = max(self.seconds, moment.metrics.get("time/iteration", 0.0))
"""

from collections.abc import Callable
from typing import NamedTuple

from metarl.metrics import MetricTable
from metarl.problem import Metrics, Problem
from metarl.training.state import TrainState


class Training(NamedTuple):
    """The training as a whole, for `Callback.start`."""

    problem: Problem
    iterations: int  # outer steps in all
    measures: MetricTable  # declarations of all metrics that the problem, the outer optimiser and the loop measure
    stage: Callable[[str], None]  # tells all callbacks what is being done, in a word or two


class Moment(NamedTuple):
    """An iteration that is done: what was measured of the parameters before it, and the state after it.

    The last moment of a complete training has no iteration: `before` and `after` are both the final state, and
    `metrics` are what callbacks measured of it.
    """

    before: TrainState
    after: TrainState
    metrics: Metrics  # of before.theta; empty where nothing was measured
    refused: bool  # whether the outer step left the parameters as they were
    best: bool  # whether before.theta has the best score so far
    last: bool  # whether the training ends here, complete or because it was asked to stop

    @property
    def iteration(self) -> int:
        """The number of the iteration, from 0 on; `metrics` are of the parameters before it."""
        return self.before.iteration

    @property
    def stepped(self) -> bool:
        """Whether there was an outer step, even a refused one."""
        return self.after.iteration > self.before.iteration


class Callback:
    """Base of all callbacks. Its methods do nothing: override those that you need.

    Callbacks are called in the order in which they are given, on the first of several ranks alone. An error in a
    callback ends the training.
    """

    def start(self, training: Training, state: TrainState) -> None:
        """Prepare for a training that goes on from `state`; not called where no iteration is left to do."""

    def stage(self, words: str) -> None:
        """Take note of what is being done now, such as `validating`."""

    def announce(self, words: str) -> None:
        """Show the user a sentence."""

    def measure(self, state: TrainState) -> Metrics:
        """Measure the parameters. All callbacks find these metrics in the moment of `iteration`."""
        return {}

    def iteration(self, moment: Moment) -> None:
        """Take note of an iteration that is done."""

    def close(self, error: BaseException | None) -> None:
        """Finish. `error` ended the training early; it is None at the regular end."""
