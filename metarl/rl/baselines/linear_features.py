"""The paper's baseline: a ridge regression on features of the observation and of time."""

import functools
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from metarl.parts import POSITIVE
from metarl.rl.baselines import BASELINES, Baseline, Values
from metarl.threads import torch_threads


@BASELINES.register("linear_features")
@dataclass(frozen=True, kw_only=True)
class LinearFeatures(Baseline):
    """Linear in the observation, its square and powers of time (Duan et al. 2016), as in the paper."""

    ridge: Annotated[float, POSITIVE] = 1e-5
    """Weight of the squared coefficients in the regression; the default is that of the authors' release."""

    def build(self) -> Values:
        """Make the fit; see `fit`."""
        return functools.partial(fit, ridge=self.ridge)


def fit(observations: Tensor, returns: Tensor, mask: Tensor, *, ridge: float) -> Tensor:
    """Values [M, T, E] of a ridge regression of the returns on the features, one per task, solved in float64.

    Args:
        observations: [M, T, E, O].
        returns: discounted returns [M, T, E], the regression's targets.
        mask: [M, T, E]; masked timesteps have no influence and get the value 0.
        ridge: weight of the squared coefficients.
    """
    # Task by task, because the features of all tasks together can take GiB.
    tasks = zip(observations.split(1), returns.split(1), mask.split(1), strict=True)
    return torch.cat([_fit_task(*task, ridge) for task in tasks])


def features(observations: Tensor) -> Tensor:
    """Features of the linear baseline (Duan et al. 2016): [M, T, E, O] -> [M, T, E, 2 O + 4].

    clip(obs, +-10), its square, t/100, (t/100)^2, (t/100)^3, 1; t counts timesteps from 0.
    """
    clipped = observations.clamp(-10, 10)
    t = torch.arange(observations.shape[1], device=observations.device, dtype=observations.dtype) / 100
    powers = torch.stack([t, t**2, t**3, torch.ones_like(t)], -1)[None, :, None, :]
    return torch.cat([clipped, clipped**2, powers.expand(*observations.shape[:3], 4)], -1)


def _fit_task(observations: Tensor, returns: Tensor, mask: Tensor, ridge: float) -> Tensor:
    """Values [1, T, E] of one task."""
    x = (features(observations.double()) * mask[..., None]).flatten(1, 2)  # [1, TE, F]
    targets = (returns.double() * mask).flatten(1, 2)[..., None]  # [1, TE, 1]
    gram = x.mT @ x + ridge * torch.eye(x.shape[-1], dtype=torch.float64, device=mask.device)
    # On two threads, batches of 151 and more features hang (pytorch/pytorch#142815).
    with torch_threads(1):
        weights = torch.linalg.solve(gram, x.mT @ targets)
    return (x @ weights).reshape(returns.shape)
