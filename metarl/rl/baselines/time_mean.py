"""A baseline that depends on the time alone."""

from dataclasses import dataclass

from torch import Tensor

from metarl.rl.baselines import BASELINES, Baseline, Values


@BASELINES.register("time_mean")
@dataclass(frozen=True, kw_only=True)
class TimeMean(Baseline):
    """The mean return from each timestep on, over the task's episodes that reach the timestep."""

    def build(self) -> Values:
        """Make the fit; see `time_mean`."""
        return time_mean


def time_mean(observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Values [M, T, E]: the mean over E of the returns [M, T, E] at each timestep; 0 where the mask [M, T, E] is."""
    total = (returns * mask).sum(2, keepdim=True)
    return total / mask.sum(2, keepdim=True).clamp(min=1) * mask
