"""Scaling of observations on their way into the policy. One a file; a file that registers a part is all it takes.

Statistics are parameters of the policy, so that checkpoints and agents have them. Neither the inner rule nor the outer
optimiser moves them: a normalised policy reads them detached, and their gradient is exactly 0. They change between
iterations alone, by `Normalizer.refresh`, so that every rollout and loss of one iteration sees the same policy.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.parts import Part, Registry
from metarl.rl.episodes import PolicyBatch


class Normalizer(NamedTuple):
    """How observations are scaled.

    wrap(policy, O) -> policy                       the same policy on scaled observations [..., O]
    refresh(theta, batches, reduce) -> theta        the statistics after one iteration's batches, fields [M, T, E, ...];
                                                    `reduce` sums a float64 tensor over ranks
    """

    wrap: Callable[[Model, int], Model]
    refresh: Callable[[Params, Sequence[PolicyBatch], Callable[[Tensor], Tensor]], Params]


class Normalization(Part, ABC):
    """How observations are scaled before the policy sees them."""

    @abstractmethod
    def build(self) -> Normalizer:
        """Make the normaliser."""


NORMALIZATIONS = Registry[Normalization]("normalization", "metarl.rl.normalizers")
