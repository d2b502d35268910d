"""Films of adaptation during training."""

import warnings
from collections.abc import Callable

from metarl.engine.params import Params
from metarl.problem import Film
from metarl.reasons import in_one_line
from metarl.training.callbacks.callback import Callback, Moment, Training
from metarl.training.state import TrainState


class Films(Callback):
    """Film one task before and after adaptation at intervals. A film that fails is the last: a warning says so.

    Args:
        film: parameters -> films of one task, after 0, 1 .. gradient steps.
        show: takes the number of an iteration and its films, such as `TensorBoard.show`.
        every: iterations between films.
    """

    def __init__(
        self, film: Callable[[Params], list[Film]], show: Callable[[int, list[Film]], None], every: int
    ) -> None:
        self._film = film
        self._show = show
        self._every = every
        self._training: Training | None = None
        self._failed = False

    def start(self, training: Training, state: TrainState) -> None:
        """Remember the training, to tell its other callbacks when a film is made."""
        self._training = training

    def iteration(self, moment: Moment) -> None:
        """Film the parameters before the outer step, if a film is due."""
        if self._failed or not moment.stepped or moment.iteration % self._every != 0:
            return
        assert self._training is not None
        self._training.stage("filming")
        try:
            films = self._film(moment.before.theta)
        except Exception as error:  # a renderer may raise anything, which must not end a training
            self._failed = True
            warnings.warn(f"no films from here on, for filming failed: {in_one_line(error)}", stacklevel=2)
            return
        self._show(moment.iteration, films)
