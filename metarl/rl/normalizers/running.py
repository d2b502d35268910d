"""Running mean and standard deviation of the observations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from metarl.engine.model import Model
from metarl.engine.params import Params, joined
from metarl.parts import POSITIVE, at_least
from metarl.rl.episodes import PolicyBatch
from metarl.rl.normalizers import NORMALIZATIONS, Normalization, Normalizer

# Names of the statistics among the parameters.
MEAN = "observation.mean"  # [O]
STD = "observation.std"  # [O]
ITERATIONS = "observation.iterations"  # [1]
LEAST_STD = 1e-4  # divisor at least, so that an observation that hardly changes is not blown up


@NORMALIZATIONS.register("running")
@dataclass(frozen=True, kw_only=True)
class Running(Normalization):
    """Observations minus their mean over past iterations, divided by their standard deviation.

    The first iteration sees observations as they are.
    """

    observation_clip: Annotated[float, POSITIVE] = 10.0
    """Largest absolute value of a normalised observation, in standard deviations."""
    memory: Annotated[int, at_least(1)] = 100
    """Iterations that the statistics average over: all iterations up to this number, then older ones fade."""

    def build(self) -> Normalizer:
        """Make the normaliser."""

        def wrap(policy: Model, size: int) -> Model:
            return normalized(policy, size, clip=self.observation_clip)

        def refresh(theta: Params, batches: Sequence[PolicyBatch], reduce: Callable[[Tensor], Tensor]) -> Params:
            return refreshed(theta, batches, reduce, memory=self.memory)

        return Normalizer(wrap, refresh)


def normalized(policy: Model, size: int, *, clip: float) -> Model:
    """Put normalisation before a policy, with the statistics among its parameters.

    Args:
        policy: takes normalised observations [..., O].
        size: O.
        clip: largest absolute value of a normalised observation.
    """

    def init(generator: torch.Generator) -> Params:
        statistics = {MEAN: torch.zeros(size), STD: torch.ones(size), ITERATIONS: torch.zeros(1)}
        return joined(policy.init(generator), statistics, "normalization running")

    def scaled(observations: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        return ((observations - mean.detach()) / std.detach()).clamp(-clip, clip)

    def apply(params: Params, observations: Tensor) -> Any:
        return policy.apply(params, scaled(observations, params[MEAN], params[STD]))

    def stacked(params: Params, observations: Tensor) -> Any:
        mean, std = params[MEAN][:, None], params[STD][:, None]
        return policy.apply_stacked(params, scaled(observations, mean, std))

    return Model(init, apply, stacked)


def refreshed(
    theta: Params, batches: Sequence[PolicyBatch], reduce: Callable[[Tensor], Tensor], *, memory: int
) -> Params:
    """Move the statistics in theta towards those of one iteration's valid timesteps, in float64.

    The n-th iteration has weight 1 / min(n, memory): a mean over all iterations up to number `memory`, then an
    exponential mean.

    Args:
        theta: meta-parameters, with statistics.
        batches: of the iteration, fields [M, T, E, ...].
        reduce: sums a float64 tensor over ranks.
        memory: see `Running.memory`.
    """
    sums = sum(_sums(batch) for batch in batches)
    count, total, squares = reduce(torch.as_tensor(sums)).split([1, len(theta[MEAN]), len(theta[MEAN])])
    # Every episode may have broken.
    if count == 0:
        return theta
    before, deviation = theta[MEAN].double(), theta[STD].double()
    iterations = theta[ITERATIONS] + 1
    weight = 1 / iterations.double().clamp(max=memory)
    mean = torch.lerp(before, total / count, weight)
    square = torch.lerp(before**2 + deviation**2, squares / count, weight)
    std = (square - mean**2).clamp(min=LEAST_STD**2).sqrt()
    return theta | {MEAN: mean.to(theta[MEAN]), STD: std.to(theta[STD]), ITERATIONS: iterations}


def _sums(batch: PolicyBatch) -> Tensor:
    """The number of a batch's valid timesteps, and their sums of observations and of squares, as a vector [1 + 2 O]."""
    observations = batch.observations.double() * batch.mask[..., None]
    sums = (observations.sum((0, 1, 2)), (observations**2).sum((0, 1, 2)))
    return torch.cat([batch.mask.double().sum().reshape(1), *sums])
