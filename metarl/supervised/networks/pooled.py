"""Convolutions at every pixel, each followed by pooling that halves the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from metarl.engine.model import Model
from metarl.parts import at_least
from metarl.supervised.models import convolutional_classifier
from metarl.supervised.networks import NETWORKS, Network, require_images
from metarl.supervised.tasks import KindName


@NETWORKS.register("pooled")
@dataclass(frozen=True, kw_only=True)
class Pooled(Network):
    """Four convolutions, each followed by max-pooling (Finn et al. 2017, for MiniImagenet)."""

    filters: Annotated[int, at_least(1)] = 64
    """Number of filters of each convolution."""

    def build(self, input_shape: Sequence[int], outputs: int, kind: KindName) -> Model:
        """Make the network: images [N, height, width, channels] -> [N, outputs]."""
        shape = require_images("pooled", input_shape)
        return convolutional_classifier(shape, self.filters, outputs, pooled=True)
