"""What is measured of episodes: the metrics of a meta-batch, and the scores of an evaluation.

Episodes that broke count in none of these, except in the share of broken episodes.
"""

import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from metarl.engine.params import Params
from metarl.metrics import Metric, MetricTable
from metarl.problem import Metrics
from metarl.rl.episodes import BREAKS, Episodes

CPU = torch.device("cpu")
LOST = 0.01  # differences of rewards that matter
BROKEN = "rollout/broken"  # the share of broken episodes; with _REASON the share that broke for this reason, if above 0
SCORES = {"rollout/return": "average_return", "rollout/achieved": "achieved", "rollout/success": "success"}
"""The name of a metric of episodes -> the name of the same score in an evaluation."""
ENVIRONMENTS_FAULT = {
    "simulation": "the simulation diverged",
    "observation": "an observation was not finite",
    "reward": "a reward was not finite",
}
"""Reasons for which the environment breaks an episode, in words. (An action that is not finite is the policy's.)"""


RETURN = Metric(
    name="rollout/return_step{k}",
    meaning="undiscounted return after k inner gradient steps, over the meta-batch",
    word="return",
    higher_is_better=True,
    reduction="mean",
    headline=True,
)
"""What best.pt is chosen by, and learning curves show."""

MEASURES = MetricTable(
    RETURN,
    Metric(
        name="rollout/success_step{k}",
        meaning="share of the episodes that succeeded after k inner gradient steps, over the meta-batch",
        word="success",
        higher_is_better=True,
        reduction="mean",
        headline=True,
    ),
    Metric(
        name="rollout/achieved_step{k}",
        meaning="what the episodes achieved after k inner gradient steps, in the environment's own terms",
        reduction="mean",
    ),
    Metric(
        name="reward/{name}_step{k}",
        meaning="sum of one term of the reward over an episode, after k inner gradient steps, over the meta-batch",
        higher_is_better=True,
        reduction="mean",
    ),
    Metric(
        name="validation/return_step{k}",
        meaning="undiscounted return after k gradient steps, over the validation tasks",
        word="return",
        higher_is_better=True,
        headline=True,
        score="average_return",
    ),
    Metric(
        name=BROKEN,
        meaning="share of the episodes of the meta-batch that broke",
        alarm="of episodes broken",
        higher_is_better=False,
        reduction="mean",
    ),
    Metric(
        name=f"{BROKEN}_{{name}}",
        meaning="share of the episodes that broke for this reason; only where there were any",
        higher_is_better=False,
        reduction="mean",
        sparse=True,
    ),
    Metric(
        name="inner/update_norm",
        meaning="Euclidean distance between a task's parameters before and after adaptation",
        reduction="mean",
    ),
    Metric(name="policy/{name}", meaning="how much the actions scatter, such as their standard deviation"),
    Metric(name="env_steps", meaning="environment steps since the start of the run", word="timesteps", reduction="sum"),
    Metric(name="time/sample", meaning="time for rollouts", unit="s", higher_is_better=False),
    Metric(name="time/adapt", meaning="time for advantages and inner steps", unit="s", higher_is_better=False),
    Metric(
        name="time/env_steps_per_s",
        meaning="environment steps a second, of all ranks",
        unit="1/s",
        higher_is_better=True,
    ),
)


def reported(episodes: Episodes) -> dict[str, Tensor]:
    """The values [M, E] of each episode, by the name of the metric; nan where the environment reports none."""
    return {
        "rollout/return": episodes.returns,
        "rollout/achieved": episodes.achieved,
        "rollout/success": episodes.success,
        **{f"reward/{name}": values for name, values in episodes.reward_terms.items()},
    }


def totals_of_episodes(rollouts: Sequence[Episodes]) -> dict[str, tuple[Tensor, Tensor]]:
    """Sums that ranks can add: the name of a metric -> the float64 sum of its values, and the number of values.

    Args:
        rollouts: of the policies after 0, 1 .. inner steps.
    """
    totals = {}
    for k, episodes in enumerate(rollouts):
        for name, values in reported(episodes).items():
            valid = (episodes.counted > 0) & ~values.isnan()
            totals[f"{name}_step{k}"] = torch.where(valid, values, 0.0).double().sum(), valid.sum()
    broken = {BROKEN: torch.stack([episodes.broken for episodes in rollouts])}
    for reason in BREAKS:
        broken[f"{BROKEN}_{reason}"] = torch.stack([episodes.breaks[reason] for episodes in rollouts])
    for name, where in broken.items():
        totals[name] = where.double().sum(), torch.tensor(where.numel())
    return totals


def require_whole(metrics: Metrics, iteration: int, *, max_broken: float) -> None:
    """Raise ValueError if the environment broke more than the share `max_broken` of an iteration's episodes."""
    shares = {reason: metrics.get(f"{BROKEN}_{reason}", 0.0) for reason in ENVIRONMENTS_FAULT}
    if (share := sum(shares.values())) > max_broken:
        why = ", ".join(f"{value:.0%} because {ENVIRONMENTS_FAULT[name]}" for name, value in shares.items() if value)
        raise ValueError(
            f"stopped in iteration {iteration}: {share:.0%} of the episodes broke ({why}), more than max_broken, "
            f"{max_broken:.0%}. What is left says little of the task: look at what the environment does under large "
            "actions, or start with a smaller standard deviation"
        )


def traces_of(episodes: Episodes, count: int) -> dict[str, NDArray[np.float32]]:
    """The data that figures draw: observations [N, T, e, O] and mask [N, T, e] of the first e = `count` episodes."""
    return {
        "observations": episodes.observations[:, :, :count].numpy(force=True),
        "mask": episodes.mask[:, :, :count].numpy(force=True),
    }


def scores_of(episodes: Episodes, wanted: NDArray[np.float64] | None) -> dict[str, NDArray[np.float64]]:
    """The scores of the policies of one gradient step, by name: means over the episodes of each task, [M].

    `error` is the mean distance between `achieved` and the value that the task asks for, `broken` the share of the
    episodes that broke.

    Args:
        episodes: of the policies of M tasks.
        wanted: the value of `achieved` that each task asks for, [M]; None: tasks ask for no value.
    """
    values = reported(episodes)
    if wanted is not None:
        values["error"] = (episodes.achieved - torch.as_tensor(wanted).to(episodes.achieved)[:, None]).abs()
    # With the authors' counting, episodes beyond the number of timesteps are masked out: they are not of this
    # evaluation.
    started = (episodes.num_steps > 0) | (episodes.broken > 0)
    scores = {SCORES.get(name, name): episodes.average(of_each) for name, of_each in values.items()}
    scores["broken"] = episodes.broken.sum(1) / started.sum(1)
    return {name: of_tasks.numpy(force=True) for name, of_tasks in scores.items()}


class Clock:
    """Seconds per stage of a meta-iteration; a stage lasts until its device has computed all that was asked of it."""

    def __init__(self, device: torch.device = CPU) -> None:
        self._device = device
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self._seconds[stage] = self._seconds.get(stage, 0.0) + now - self._last
        self._last = now

    def metrics(self, env_steps: float) -> Metrics:
        """The time of each stage, and `env_steps` per second of sampling."""
        times = {f"time/{stage}": seconds for stage, seconds in self._seconds.items()}
        return times | {"time/env_steps_per_s": env_steps / self._seconds["sample"]}


def distances(before: Params, after: Params) -> Tensor:
    """The Euclidean distance of every task's parameters before and after adaptation, [M]."""
    squares = [(after[name] - leaf).square().reshape(len(leaf), -1).sum(1) for name, leaf in before.items()]
    return torch.stack(squares).sum(0).sqrt()


def warn_of_equal_rewards(episodes: Episodes) -> None:
    """Warn where all rewards are the same large number, beside which their dtype has lost the differences."""
    rewards = episodes.rewards
    played = episodes.mask > 0
    least = rewards.where(played, torch.inf).amin().item()
    most = rewards.where(played, -torch.inf).amax().item()
    if least == most and played.sum().item() > 1 and abs(most) * torch.finfo(rewards.dtype).eps > LOST:
        warnings.warn(
            f"all rewards of the first episodes are {most:g}: {rewards.dtype} has no smaller differences "
            "beside such a number, and nothing can be learned from them; take the constant out of the rewards",
            stacklevel=2,
        )
