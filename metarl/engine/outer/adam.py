"""Adam on the meta-gradient: what the paper's supervised problems are meta-trained with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from metarl.engine.objective import MetaObjective
from metarl.engine.outer import LOSS, OUTERS, Info, Outer, OuterOptimizer, State, nonfinite
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.schedules import SCHEDULES, Schedule, Share
from metarl.engine.schedules.constant import Constant
from metarl.parts import NOT_NEGATIVE, POSITIVE, below


@OUTERS.register("adam")
@dataclass(frozen=True, kw_only=True)
class Adam(Outer):
    """Adam on the meta-gradient (Kingma and Ba 2015, algorithm 1)."""

    learning_rate: Annotated[float, POSITIVE] = 1e-3
    """Step size."""
    adam_beta1: Annotated[float, NOT_NEGATIVE, below(1)] = 0.9
    """Decay of the gradient's running mean, per step."""
    adam_beta2: Annotated[float, NOT_NEGATIVE, below(1)] = 0.999
    """Decay of the squared gradient's running mean, per step."""
    adam_epsilon: Annotated[float, POSITIVE] = 1e-8
    """Added to the square root of that mean, by which the step is divided."""
    gradient_clip: Annotated[float | None, POSITIVE] = None
    """Largest absolute value of any entry of the meta-gradient; None: no limit."""
    schedule: Annotated[Schedule, SCHEDULES] = Constant()
    """How the step size changes over the steps of Adam."""

    @property
    def steps_an_iteration(self) -> int | None:
        """Steps of Adam that an outer step takes; None where data decide."""
        return 1

    def remarks(self, iterations: int) -> list[str]:
        """Say where the schedule is over long before the training is."""
        each = self.steps_an_iteration
        length = self.schedule.length
        if each is None or length is None or length >= each * iterations:
            return []
        all_steps = each * iterations
        end = f"after {length} of {all_steps} steps of Adam, in iteration {length // each} of {iterations}"
        return [f"the learning rate is at its end {end}: --schedule-steps {all_steps} lets it fall until the end"]

    def build(self) -> OuterOptimizer:
        """Make the optimiser. Where gradient or new parameters are not finite, theta and the state stay as they are.

        Raises ValueError for a schedule that lacks an option.
        """
        share = self.schedule.build()

        def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
            return self.descend(theta, state, [objective], share)

        return OuterOptimizer(self.moments, step, LOSS)

    def moments(self, theta: Params) -> State:
        """A fresh state: no steps taken, and the running means of the gradient and of its square [P] at zero."""
        zeros = torch.zeros_like(ravel(theta))
        return {"step": torch.zeros((), dtype=torch.float64), "mean": zeros, "square": zeros.clone()}

    def descend(
        self, theta: Params, state: State, objectives: Sequence[MetaObjective], share: Share
    ) -> tuple[Params, State, Info]:
        """Take a step of Adam on each of the objectives, in turn; the info is that of the first.

        The schedule's `share` gives the step sizes by the steps of Adam that were taken so far. Where one of the steps
        is not finite, none is taken: theta and the state stay as they are.

        Raises ValueError for a share that is negative or not finite.
        """
        first: Info = {}
        moved = theta
        after = state
        for objective in objectives:
            loss, gradient = objective.loss_and_gradient(moved)
            g = ravel(gradient)
            info = {"loss": loss, "grad_norm": g.norm().item(), "nonfinite": 0.0}
            first = first or info
            if broken := nonfinite(loss=loss, gradient=info["grad_norm"]):
                return theta, state, first | broken
            moved, after = self._step(moved, after, g, self.learning_rate * _checked(share, after["step"].item()))
            # Finite numbers may have overflowed.
            if broken := nonfinite(parameters=ravel(moved).abs().max().item()):
                return theta, state, first | broken
        return moved, after, first

    def _step(self, theta: Params, state: State, g: Tensor, size: float) -> tuple[Params, State]:
        """One step of a size along a gradient [P]: theta and the moments in the state after it."""
        if self.gradient_clip is not None:
            g = g.clamp(-self.gradient_clip, self.gradient_clip)
        t = state["step"] + 1
        mean = self.adam_beta1 * state["mean"] + (1 - self.adam_beta1) * g
        square = self.adam_beta2 * state["square"] + (1 - self.adam_beta2) * g**2
        unbiased_mean = mean / (1 - self.adam_beta1**t)
        unbiased_square = square / (1 - self.adam_beta2**t)
        update = unbiased_mean / (unbiased_square.sqrt() + self.adam_epsilon)
        moved = add(theta, unravel(update, theta), scale=-size)
        return moved, state | {"step": t, "mean": mean, "square": square}


def _checked(share: Share, taken: float) -> float:
    """The schedule's share of the learning rate after so many steps of Adam.

    Raises:
        ValueError: it is no finite number of at least 0.
    """
    chosen = float(share(taken))
    if not 0 <= chosen < math.inf:
        raise ValueError(
            f"a schedule must give shares of the learning rate, finite numbers of at least 0; got {chosen} after "
            f"{taken:.0f} steps"
        )
    return chosen
