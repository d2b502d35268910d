"""Scores on validation tasks during training."""

from collections.abc import Callable

from metarl.engine.params import Params
from metarl.metrics import MetricTable
from metarl.problem import Evaluation, Metrics
from metarl.training.callbacks.callback import Callback, Training
from metarl.training.state import TrainState


class Validation(Callback):
    """Measure the means over the validation tasks of every score that the problem declares a metric for.

    Args:
        evaluate: parameters -> their scores on the validation tasks.
        every: iterations between validations; the final parameters are scored too.
    """

    def __init__(self, evaluate: Callable[[Params], Evaluation], every: int) -> None:
        self._evaluate = evaluate
        self._every = every
        self._training: Training | None = None

    def start(self, training: Training, state: TrainState) -> None:
        """Remember the training, for its length and the declarations of its metrics."""
        self._training = training

    def measure(self, state: TrainState) -> Metrics:
        """The metrics `validation/NAME_step{k}` of the present parameters, if a validation is due."""
        training = self._training
        assert training is not None
        if state.iteration % self._every != 0 and state.iteration != training.iterations:
            return {}
        training.stage("validating")
        return validation_metrics(self._evaluate(state.theta), training.measures)


def validation_metrics(evaluation: Evaluation, measures: MetricTable) -> Metrics:
    """The mean over tasks of each score that has a metric, after each gradient step."""
    return {
        metric.at(step): float(row.mean())
        for metric in measures
        if metric.score in evaluation.scores
        for step, row in enumerate(evaluation.scores[metric.score])
    }
