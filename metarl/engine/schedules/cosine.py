"""Half a cosine, from the learning rate down to a share of it."""

import math
from dataclasses import dataclass
from typing import Annotated

from metarl.engine.schedules import SCHEDULES, Schedule, Share
from metarl.parts import PROBABILITY, at_least


@SCHEDULES.register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """The learning rate falls along half a cosine (Loshchilov and Hutter 2017, equation 5; MAML++), then stays."""

    schedule_steps: Annotated[int | None, at_least(1)] = None
    """Steps of Adam over which it falls; must be given, and is usually --iterations (for PPO and ProMP times --epochs
    and --minibatches). It is a number of its own because a run may be resumed with more iterations, which must not
    change the learning rates that it has had."""
    final_share: Annotated[float, PROBABILITY] = 0.01
    """Share of the learning rate at the end, and from then on. MAML++ falls from 1e-3 to 1e-5."""

    @property
    def length(self) -> int | None:
        """Steps of Adam over which it falls."""
        return self.schedule_steps

    def build(self) -> Share:
        """Make the function. Raises ValueError without `schedule_steps`."""
        steps = self.schedule_steps
        if steps is None:
            raise ValueError(
                "schedule cosine needs schedule_steps, the steps of Adam over which the learning rate falls: give "
                "--schedule-steps, usually as many as --iterations"
            )

        def share(taken: float) -> float:
            fallen = (1 - math.cos(math.pi * min(taken / steps, 1.0))) / 2
            return 1 - (1 - self.final_share) * fallen

        return share
