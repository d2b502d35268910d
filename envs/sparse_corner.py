"""Sparse corners (Rothfuss et al. 2019, "ProMP"; its code's MetaPointEnvCorner): one of four corners is the goal.

There is no reward near the start, so that before adaptation a policy must walk away from it to learn anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from metarl.arrays import Array, Mask, namespace, nowhere
from metarl.envs.family import register
from metarl.envs.point import Point
from metarl.envs.tasks import OneOf

CORNERS = ((-2.0, -2.0), (2.0, -2.0), (-2.0, 2.0), (2.0, 2.0))  # metres
SILENT = 0.5  # metres: nearer to the origin, by |x| + |y|, there is no reward
START = 0.2  # metres: the start is uniform in [-0.2, 0.2]^2


@register("metarl/SparseCorner-v0")
@dataclass(frozen=True, kw_only=True)
class SparseCorner(Point):
    """A point near (0, 0) moves by 0.2 clip(a, -1, 1) per timestep; one of the four corners (+-2, +-2) is the goal.

    | observation | name | unit |
    | --- | --- | --- |
    | 0, 1 | x, y position | m |

    | action | name | unit |
    | --- | --- | --- |
    | 0, 1 | velocity in x, y, clipped to [-1, 1] | 0.2 m per timestep |

    | task | name | unit |
    | --- | --- | --- |
    | 0, 1 | goal x, y: a corner, equally likely | m |

    Episodes start uniform in [-0.2, 0.2]^2 m and never terminate. `achieved` is the distance to the goal.
    """

    reward: Literal["sparse", "distance", "squared"] = "sparse"
    """Reward of a move from s to s', for the goal g. sparse: |s - g| - |s' - g| where g is the corner nearest to s' and
    |x'| + |y'| is at least 0.5 m, and 0 elsewhere. A walk to the goal has 2.5 m of progress; policies that leave its
    quadrant, which costs nothing, and enter it again have more. distance: -|s' - g|. squared: -|s' - g|^2."""

    step: ClassVar[float] = 0.2
    view: ClassVar[float] = 3.0
    usual_horizon: ClassVar[int] = 100
    tasks = OneOf(("goal_x [m]", "goal_y [m]"), CORNERS)

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """Places near the origin, [n, 2]."""
        return np.stack([rng.uniform(-START, START, 2) for rng in rngs])

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """One term, [n]: a move's progress towards the goal [m], or the negative (squared) distance to the goal."""
        after = self.achieved(next_states, tasks)
        if self.reward != "sparse":
            return {"distance": -after if self.reward == "distance" else -(after**2)}
        nearer = self.achieved(states, tasks) - after
        # The corners are those of a square about the origin, so that the nearest corner is in the same quadrant.
        nearest = (next_states * tasks >= 0).all(axis=1)
        told = nearest & (abs(next_states).sum(axis=1) >= SILENT)
        return {"progress": namespace(states).where(told, nearer, 0.0)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Nowhere, [n]."""
        return nowhere(states)
