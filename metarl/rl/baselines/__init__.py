"""Baselines: the expected returns that advantages are measured from, one a file. A new one is one file here.

Axes: M tasks, T time, E episodes per task, O observation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor

from metarl.parts import Part, Registry

Values = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(observations [M, T, E, O], discounted returns [M, T, E], mask [M, T, E]) -> values [M, T, E], 0 where masked."""


class Baseline(Part, ABC):
    """The expected return of a state, fitted anew to the rollouts of every task and gradient step."""

    @abstractmethod
    def build(self) -> Values:
        """Make the function that fits each task's returns and predicts them; masked timesteps have no influence."""


BASELINES = Registry[Baseline]("baseline", "metarl.rl.baselines", base=Baseline)
