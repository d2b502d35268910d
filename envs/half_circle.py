"""Sparse goals on a half-circle (Rakelly et al. 2019, "PEARL", section 6.3; its code's sparse-point-robot).

There is a reward only near the goal, so that a policy must search along the half-circle before adaptation.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from metarl.arrays import Array, Mask, namespace, nowhere
from metarl.envs.family import register
from metarl.envs.point import Point
from metarl.envs.tasks import Uniform
from metarl.parts import POSITIVE


@register("metarl/HalfCircle-v0")
@dataclass(frozen=True, kw_only=True)
class HalfCircle(Point):
    """A point at (0, 0) moves by 0.1 clip(a, -1, 1) per timestep; the goal is 1 m away, at an angle that is the task.

    | observation | name | unit |
    | --- | --- | --- |
    | 0, 1 | x, y position | m |

    | action | name | unit |
    | --- | --- | --- |
    | 0, 1 | velocity in x, y, clipped to [-1, 1] | 0.1 m per timestep |

    | task | name | unit |
    | --- | --- | --- |
    | 0 | angle phi of the goal (cos phi, sin phi); training draws it uniform in [0, pi] | rad |

    Episodes never terminate; an episode in which the point comes within `goal_radius` of the goal is a success.
    `achieved` is the distance to the goal.
    """

    reward: Literal["sparse", "distance"] = "sparse"
    """Reward at the position s after the move, for the goal g. sparse: 1 - |s - g| within `goal_radius`, and 0
    elsewhere. distance: -|s - g|, with which PEARL is meta-trained."""
    goal_radius: Annotated[float, POSITIVE] = 0.2
    """Metres around the goal within which there is a reward."""

    step: ClassVar[float] = 0.1
    view: ClassVar[float] = 1.5
    usual_horizon: ClassVar[int] = 20
    tasks = Uniform(("angle of the goal [rad]",), (0.0,), (math.pi,))

    def goals(self, tasks: Array) -> Array:
        """The goals' places on the circle, [n, 2]."""
        arrays = namespace(tasks)
        return arrays.concat([arrays.cos(tasks), arrays.sin(tasks)], axis=1)

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """The origin, [n, 2]."""
        return np.zeros((len(tasks), 2))

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """One term, [n]: nearness within the radius of the goal, or the negative distance to the goal."""
        distance = self.achieved(next_states, tasks)
        if self.reward == "distance":
            return {"distance": -distance}
        return {"nearness": namespace(states).where(self.succeeded(next_states, tasks), 1 - distance, 0.0)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Nowhere, [n]."""
        return nowhere(states)

    def succeeded(self, states: Array, tasks: Array) -> Mask:
        """Within the radius of the goal, [n]."""
        return self.achieved(states, tasks) <= self.goal_radius
