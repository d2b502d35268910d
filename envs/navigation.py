"""2D navigation (Finn et al. 2017, section 5.3): a point moves to a goal it cannot see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.envs.arrays import Array, Mask
from metarl.envs.family import TaskFamily, register
from metarl.envs.tasks import Uniform

STEP = 0.1  # metres per timestep and axis at action 1
GOAL_BOX = 0.5  # goals are uniform in [-0.5, 0.5]^2 metres
TOLERANCE = 0.01  # metres per axis: closer is arrived
REACH = 1e7  # metres, that no episode goes


@register("metarl/Navigation2D-v0")
@dataclass(frozen=True, kw_only=True)
class Navigation2D(TaskFamily):
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

    usual_horizon: ClassVar[int] = 100
    traced_episodes: ClassVar[int] = 1
    achieved_name = "distance to the goal [m]"
    tasks = Uniform(("goal_x [m]", "goal_y [m]"), (-GOAL_BOX, -GOAL_BOX), (GOAL_BOX, GOAL_BOX))

    @property
    def observation_space(self) -> Box:
        """Positions."""
        return Box(-REACH, REACH, (2,), np.float64)

    @property
    def action_space(self) -> Box:
        """Velocities."""
        return Box(-1.0, 1.0, (2,), np.float64)

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """The origin, [n, 2]."""
        return np.zeros((len(tasks), 2))

    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        """Positions after the move, [n, 2]."""
        return states + STEP * actions

    def observe(self, states: Array, tasks: Array) -> Array:
        """The position itself, [n, 2]."""
        return states + 0.0  # an array of its own: callers may write into it

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """One term, [n]: the negative (squared) distance to the goal."""
        distance = self.achieved(next_states, tasks)
        return {"distance": -distance if self.reward == "distance" else -(distance**2)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Where both coordinates are within 0.01 of the goal, [n]."""
        near = abs(states - tasks) < TOLERANCE
        return near[:, 0] & near[:, 1]

    def succeeded(self, states: Array, tasks: Array) -> Mask:
        """Where the episode has ended so, [n]."""
        return self.terminated(states, tasks)

    def achieved(self, states: Array, tasks: Array) -> Array:
        """Distance to the goal, [n]."""
        return ((states - tasks) ** 2).sum(axis=1) ** 0.5

    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """The path so far, the start and the goal, 400 x 400 pixels."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: 0.4 s of every start that draws nothing
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 4), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot(aspect="equal")
        reach = max(1.2 * GOAL_BOX, 1.05 * float(np.abs(path).max()))
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="x [m]", ylabel="y [m]")
        axes.plot(path[:, 0], path[:, 1], color="tab:blue", linewidth=1.5)
        axes.plot(*path[-1], "o", color="tab:blue", label="position")
        axes.plot(*task, "*", color="tab:red", markersize=14, label="goal")
        axes.legend(loc="upper right")
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
