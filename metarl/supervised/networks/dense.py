"""Fully connected layers, for inputs of any shape."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from metarl.engine.model import Model
from metarl.parts import NOT_EMPTY, at_least
from metarl.supervised.models import dense_classifier, regressor
from metarl.supervised.networks import NETWORKS, Network
from metarl.supervised.tasks import KindName


@NETWORKS.register("dense")
@dataclass(frozen=True, kw_only=True)
class Dense(Network):
    """Fully connected layers with ReLU, as Finn et al. 2017 have them: with batch norm for a classification."""

    hidden_sizes: Annotated[tuple[int, ...], at_least(1), NOT_EMPTY] = (40, 40)
    """Units of the hidden layers."""

    def build(self, input_shape: Sequence[int], outputs: int, kind: KindName) -> Model:
        """Make the network: inputs [N, *input_shape] -> [N, outputs]."""
        if kind == "classification":
            return dense_classifier(input_shape, self.hidden_sizes, outputs)
        plain = regressor(math.prod(input_shape), self.hidden_sizes, outputs)
        if len(input_shape) == 1:
            return plain
        return Model(plain.init, lambda params, inputs: plain.apply(params, inputs.flatten(1)))
