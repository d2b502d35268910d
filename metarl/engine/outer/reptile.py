"""Reptile: theta moves towards where the tasks adapted to (Nichol et al. 2018)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from metarl.engine.maml import AdaptedTask
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import LOSS, OUTERS, Info, Outer, OuterOptimizer, State, nonfinite
from metarl.engine.params import Params, add, detach, ravel
from metarl.parts import SHARE


@OUTERS.register("reptile")
@dataclass(frozen=True, kw_only=True)
class Reptile(Outer):
    """Theta moves a share of the way to the mean of theta' over the tasks (Nichol et al. 2018, algorithm 2).

    No inner step is differentiated through, and the query is scored for the log alone.
    """

    differentiates: ClassVar[bool] = False

    meta_step_size: Annotated[float, SHARE] = 0.1
    """Share of the way from theta to the mean of the adapted parameters, in (0, 1]."""

    def build(self) -> OuterOptimizer:
        """The optimiser, which keeps no state. Where the step is not finite, theta stays as it is."""
        return OuterOptimizer(lambda theta: {}, self._step, LOSS)

    def _step(self, theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        outer_loss = objective.functions.outer_loss

        def towards_the_adapted(task: AdaptedTask) -> Tensor:
            """The value of the outer loss, and the gradient theta - theta' of |theta - theta'|^2 / 2."""
            adapted = detach(task.adapted)
            squares = [(leaf - adapted[name]).square().sum() for name, leaf in task.theta.items()]
            distance = 0.5 * torch.stack(squares).sum()
            return outer_loss(task).detach() + distance - distance.detach()

        loss, gradient = objective.with_outer_loss(towards_the_adapted).loss_and_gradient(theta)
        info = {"loss": loss, "grad_norm": ravel(gradient).norm().item(), "nonfinite": 0.0}
        if broken := nonfinite(loss=loss, gradient=info["grad_norm"]):
            return theta, state, info | broken
        return add(theta, gradient, -self.meta_step_size), state, info
