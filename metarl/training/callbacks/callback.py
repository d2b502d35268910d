"""What takes part in a training without being a part of its numbers: files, charts, progress, films, one's own.

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
    """The training as a whole, as `Callback.start` is told of it."""

    problem: Problem
    iterations: int  # at its end
    measures: MetricTable  # declarations of all metrics that the problem, the outer optimiser and the loop measure
    stage: Callable[[str], None]  # tell all callbacks what is being done, in a word or two


class Moment(NamedTuple):
    """One iteration, when it is done: what was measured of the parameters before it, and the state after it.

    The last moment of a training that was not stopped has no iteration: `before` and `after` are the final state, and
    `metrics` what callbacks measured of it.
    """

    before: TrainState
    after: TrainState
    metrics: Metrics  # of before.theta; empty where nothing was measured
    refused: bool  # whether the outer step left the parameters as they were
    best: bool  # whether before.theta has the best score so far
    last: bool  # whether nothing follows: the training is complete, or was asked to stop

    @property
    def iteration(self) -> int:
        """The number of the iteration, from 0 on: that of the parameters that `metrics` are of."""
        return self.before.iteration

    @property
    def stepped(self) -> bool:
        """Whether there was an outer step."""
        return self.after.iteration > self.before.iteration


class Callback:
    """Base of all callbacks, which does nothing: override what is wanted.

    Callbacks are called in the order in which they are given, of several ranks on the first alone. What they raise
    ends the training.
    """

    def start(self, training: Training, state: TrainState) -> None:
        """Get ready; the training goes on from `state`. Not called where no iteration is left to do."""

    def stage(self, words: str) -> None:
        """Hear what is being done now, such as `validating`."""

    def announce(self, words: str) -> None:
        """Hear a sentence that the user should read."""

    def measure(self, state: TrainState) -> Metrics:
        """Measure something of the parameters, before any callback's `iteration`; all of them see it."""
        return {}

    def iteration(self, moment: Moment) -> None:
        """Hear of an iteration that is done."""

    def close(self, error: BaseException | None) -> None:
        """Finish; `error` is what ended the training early, None at its regular end."""
