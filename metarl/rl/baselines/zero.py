"""No baseline."""

from dataclasses import dataclass

from torch import Tensor

from metarl.rl.baselines import BASELINES, Baseline, Values


@BASELINES.register("zero")
@dataclass(frozen=True, kw_only=True)
class Zero(Baseline):
    """No baseline: advantages are the (discounted, lambda-weighted) returns, normalised per task."""

    def build(self) -> Values:
        """Make the function; see `zero`."""
        return zero


def zero(observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Values [M, T, E] that are all 0."""
    return returns.new_zeros(returns.shape)
