"""Convolutions at every second pixel, which halve the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from metarl.engine.model import Model
from metarl.parts import at_least
from metarl.supervised.models import convolutional_classifier
from metarl.supervised.networks import NETWORKS, Network, require_images
from metarl.supervised.tasks import KindName


@NETWORKS.register("strided")
@dataclass(frozen=True, kw_only=True)
class Strided(Network):
    """Four convolutions, each at every second pixel (Finn et al. 2017, for Omniglot)."""

    filters: Annotated[int, at_least(1)] = 64
    """Number of filters of each convolution."""

    def build(self, input_shape: Sequence[int], outputs: int, kind: KindName) -> Model:
        """Make the network: images [N, height, width, channels] -> [N, outputs]."""
        shape = require_images("strided", input_shape)
        return convolutional_classifier(shape, self.filters, outputs, pooled=False)
