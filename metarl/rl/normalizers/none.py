"""Observations as they are."""

from dataclasses import dataclass

from metarl.rl.normalizers import NORMALIZATIONS, Normalization, Normalizer


@NORMALIZATIONS.register("none")
@dataclass(frozen=True, kw_only=True)
class Unscaled(Normalization):
    """Observations as the environment gives them, as in the paper."""

    def build(self) -> Normalizer:
        """Make the normaliser that leaves policy and parameters as they are."""
        return Normalizer(wrap=lambda policy, size: policy, refresh=lambda theta, batches, reduce: theta)
