"""Scaling of observations on their way into the policy, one a file. A new one is one file here.

Statistics are parameters of the policy, so that checkpoints and agents have them. Neither the inner rule nor the outer
optimiser moves them, because a normalised policy detaches them, so that their gradient is exactly 0. Only
`Normalizer.refresh` changes them, between iterations: every rollout and loss of an iteration sees the same policy.
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
    refresh(theta, batches, reduce) -> theta        theta with statistics updated by one iteration's batches, whose
                                                    fields are [M, T, E, ...]; `reduce` sums a tensor over ranks
    """

    wrap: Callable[[Model, int], Model]
    refresh: Callable[[Params, Sequence[PolicyBatch], Callable[[Tensor], Tensor]], Params]


class Normalization(Part, ABC):
    """How observations are scaled before the policy sees them."""

    @abstractmethod
    def build(self) -> Normalizer:
        """Make the normaliser."""


NORMALIZATIONS = Registry[Normalization]("normalization", "metarl.rl.normalizers", base=Normalization)
