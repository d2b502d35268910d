"""The sizes of rollouts, and how rewards become advantages, as a `MetaRL` is told them."""

from typing import NamedTuple

from metarl.arguments import require_integers
from metarl.parts import PROBABILITY
from metarl.rl.sampler import ROLLOUTS

MAX_BROKEN = 0.5  # a share of episodes


class Credit(NamedTuple):
    """How far back in time a reward counts: the two numbers of generalised advantage estimation."""

    discount: float
    gae_lambda: float


class RolloutSettings(NamedTuple):
    """The sizes of rollouts, and how rewards become advantages."""

    tasks: int  # M tasks per meta-batch
    episodes: int  # E episodes per task and inner step
    horizon: int  # T timesteps per episode at most
    discount: float
    gae_lambda: float
    evaluation_episodes: int  # E in `evaluate`
    evaluation_counting: str  # a key of `sampler.ROLLOUTS`
    traced_episodes: int = 0  # episodes per task and gradient step whose observations `evaluate` keeps for figures
    inner_discount: float | None = None  # `discount` of the data of inner steps, where it is another
    inner_gae_lambda: float | None = None  # `gae_lambda` likewise
    max_broken: float = MAX_BROKEN  # training stops if the environment breaks more of an iteration's episodes

    def require_sensible(self) -> None:
        """Raise ValueError for a number out of its bounds, or an unknown way of counting."""
        require_integers(
            1,
            tasks=self.tasks,
            episodes=self.episodes,
            horizon=self.horizon,
            evaluation_episodes=self.evaluation_episodes,
        )
        require_integers(0, traced_episodes=self.traced_episodes)
        PROBABILITY.require("discount", self.discount)
        PROBABILITY.require("gae_lambda", self.gae_lambda)
        PROBABILITY.require("inner_discount", self.credit(inner=True).discount)
        PROBABILITY.require("inner_gae_lambda", self.credit(inner=True).gae_lambda)
        PROBABILITY.require("max_broken", self.max_broken)
        if self.evaluation_counting not in ROLLOUTS:
            raise ValueError(f"evaluation_counting must be {' or '.join(ROLLOUTS)}; got {self.evaluation_counting!r}")

    def credit(self, *, inner: bool) -> Credit:
        """The discount and lambda of the advantages in the data of the inner steps, or in that of the outer step."""
        discount = self.inner_discount if inner and self.inner_discount is not None else self.discount
        gae_lambda = self.inner_gae_lambda if inner and self.inner_gae_lambda is not None else self.gae_lambda
        return Credit(discount, gae_lambda)
