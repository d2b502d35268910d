"""Proximal policy optimisation of the meta-objective: steps of Adam on one meta-batch (Schulman et al. 2017)."""

import math
from dataclasses import dataclass
from typing import Annotated

from metarl.engine.maml import OuterLoss
from metarl.engine.objective import MetaObjective, require_minibatches
from metarl.engine.outer import LOSS, MOVED, OUTERS, Info, OuterOptimizer, State, nonfinite
from metarl.engine.outer.adam import Adam
from metarl.engine.params import Params
from metarl.engine.schedules import Share
from metarl.metrics import Metric
from metarl.parts import POSITIVE, at_least, below

EPOCHS = Metric(name="outer/epochs", meaning="passes over the meta-batch that the outer step took")
"""Declaration of the metric that PPO reports beside those of every optimiser that measures how far its step went."""

# The metrics of a step that was refused.
UNTRIED: Info = {"improvement": 0.0, "kl": 0.0, "epochs": 0.0}


@OUTERS.register("ppo")
@dataclass(frozen=True, kw_only=True)
class PPO(Adam):
    """Epochs of Adam on the outer loss with clipped likelihood ratios (Schulman et al. 2017, equation 7).

    Every step of Adam goes through the adaptation anew, with the data of the one meta-batch.
    """

    epochs: Annotated[int, at_least(1)] = 5
    """Passes over a meta-batch, at most."""
    minibatches: Annotated[int, at_least(1)] = 1
    """Parts of a meta-batch, of consecutive tasks; an epoch takes a step of Adam on each."""
    clip: Annotated[float, POSITIVE, below(1)] = 0.3
    """Epsilon: likelihood ratios beyond 1 +- this gain nothing."""
    target_kl: Annotated[float | None, POSITIVE] = None
    """No further epoch once the mean KL divergence of the adapted policies exceeds this, in nats; None: all epochs."""

    @property
    def steps_an_iteration(self) -> int | None:
        """Steps of Adam that an outer step takes; None where a target of the divergence may end it early."""
        return self.epochs * self.minibatches if self.target_kl is None else None

    def require_tasks(self, tasks: int) -> None:
        """Raise ValueError for more minibatches than tasks."""
        require_minibatches(self.minibatches, tasks)

    def build(self) -> OuterOptimizer:
        """The optimiser. Where an epoch is not finite, none is taken: theta and the state stay as they are.

        Raises ValueError for a schedule that lacks an option, and its step for more minibatches than tasks.
        """
        share = self.schedule.build()

        def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
            return self._epochs(theta, state, objective, share)

        return OuterOptimizer(self.moments, step, (*LOSS, *MOVED, EPOCHS))

    def _loss(self, objective: MetaObjective, state: State) -> OuterLoss:
        """The outer loss that the epochs descend."""
        return objective.clipped(self.clip)

    def _epochs(
        self, theta: Params, state: State, objective: MetaObjective, share: Share
    ) -> tuple[Params, State, Info]:
        """One outer step: descend epoch by epoch, and measure how far theta went.

        The gradient norm is that of the first step of Adam; that of a refused step, of the epoch that was not finite.
        """
        parts = objective.with_outer_loss(self._loss(objective, state)).minibatches(self.minibatches)
        limit = math.inf if self.target_kl is None else self.target_kl
        before, _ = objective.loss_and_divergence(theta)
        loss = before
        kl = 0.0
        first: Info = {}
        moved = theta
        after = state
        taken = 0
        while taken < self.epochs and kl <= limit:
            moved, after, info = self.descend(moved, after, parts, share)
            if info["nonfinite"]:
                return theta, state, info | UNTRIED
            first = first or info
            taken += 1
            if taken == self.epochs or self.target_kl is not None:
                loss, kl = objective.loss_and_divergence(moved)
            if broken := nonfinite(loss=loss, kl=kl):
                return theta, state, first | UNTRIED | broken
        return moved, after, first | {"loss": before, "improvement": before - loss, "kl": kl, "epochs": float(taken)}
