"""2D navigation (Finn et al. 2017, section 5.3): a point moves to a goal that it cannot see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from metarl.arrays import Array, Mask
from metarl.envs.family import register
from metarl.envs.point import Point
from metarl.envs.tasks import Uniform

GOAL_BOX = 0.5  # goals are uniform in [-0.5, 0.5]^2 metres
TOLERANCE = 0.01  # metres per axis: a point that is closer has arrived


@register("metarl/Navigation2D-v0")
@dataclass(frozen=True, kw_only=True)
class Navigation2D(Point):
    """A point at (0, 0) moves by 0.1 clip(a, -1, 1) per timestep; the goal is the task and is not observed.

    | observation | name | unit |
    | --- | --- | --- |
    | 0, 1 | x, y position | m |

    | action | name | unit |
    | --- | --- | --- |
    | 0, 1 | velocity in x, y, clipped to [-1, 1] | 0.1 m per timestep |

    | task | name | unit |
    | --- | --- | --- |
    | 0, 1 | goal x, y; training draws them uniform in [-0.5, 0.5] | m |

    The episode terminates, as a success, where |dx| < 0.01 and |dy| < 0.01. `achieved` is the distance to the goal.
    """

    reward: Literal["squared", "distance"] = "squared"
    """Reward at the position s after the move, for the goal g. squared: -|s - g|^2, as in the paper's text. distance:
    -|s - g|, as in the code behind the paper's figures."""

    step: ClassVar[float] = 0.1
    view: ClassVar[float] = 2 * GOAL_BOX
    usual_horizon: ClassVar[int] = 100
    tasks = Uniform(("goal_x [m]", "goal_y [m]"), (-GOAL_BOX, -GOAL_BOX), (GOAL_BOX, GOAL_BOX))

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """The origin, [n, 2]."""
        return np.zeros((len(tasks), 2))

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """One term, [n]: the negative (squared) distance to the goal."""
        distance = self.achieved(next_states, tasks)
        return {"distance": -distance if self.reward == "distance" else -(distance**2)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Where both coordinates are within 0.01 of the goal, [n]."""
        near = abs(states - tasks) < TOLERANCE
        return near[:, 0] & near[:, 1]

    def succeeded(self, states: Array, tasks: Array) -> Mask:
        """Where the point has arrived, [n]."""
        return self.terminated(states, tasks)
