"""Proximal policy optimisation of the meta-objective: steps of Adam on one meta-batch (Schulman et al. 2017)."""

from dataclasses import dataclass
from typing import Annotated

from metarl.engine.maml import OuterLoss
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import LOSS, MOVED, OUTERS, Info, OuterOptimizer, State, nonfinite
from metarl.engine.outer.adam import Adam
from metarl.engine.params import Params
from metarl.engine.schedules import Share
from metarl.parts import POSITIVE, at_least, below


@OUTERS.register("ppo")
@dataclass(frozen=True, kw_only=True)
class PPO(Adam):
    """Epochs of Adam on the outer loss with clipped likelihood ratios (Schulman et al. 2017, equation 7).

    A step goes through the adaptation anew in every epoch, with the data of the one meta-batch.
    """

    epochs: Annotated[int, at_least(1)] = 5
    """Steps of Adam per meta-batch."""
    clip: Annotated[float, POSITIVE, below(1)] = 0.3
    """Epsilon: likelihood ratios beyond 1 +- this gain nothing."""

    def build(self) -> OuterOptimizer:
        """The optimiser. Where an epoch is not finite, none is taken: theta and the state stay as they are.

        Raises ValueError for a schedule that lacks an option.
        """
        share = self.schedule.build()

        def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
            return self._epochs(theta, state, objective, share)

        return OuterOptimizer(self.moments, step, (*LOSS, *MOVED))

    def _loss(self, objective: MetaObjective, state: State) -> OuterLoss:
        """The outer loss that the epochs descend."""
        return objective.clipped(self.clip)

    def _epochs(
        self, theta: Params, state: State, objective: MetaObjective, share: Share
    ) -> tuple[Params, State, Info]:
        """One outer step: descend in all epochs, then measure how far theta went."""
        clipped = objective.with_outer_loss(self._loss(objective, state))
        moved, after, info = self.descend(theta, state, clipped, share, steps=self.epochs)
        untried: Info = {"improvement": 0.0, "kl": 0.0}
        if info["nonfinite"]:
            return theta, state, info | untried
        loss, kl = objective.loss_and_divergence(moved)
        if broken := nonfinite(loss=loss, kl=kl):
            return theta, state, info | untried | broken
        # At theta itself all ratios are 1, so that the first epoch's clipped loss is the objective's own loss.
        return moved, after, info | {"improvement": info["loss"] - loss, "kl": kl}
