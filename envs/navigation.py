"""2D navigation (Finn et al. 2017, section 5.3): a point moves to a goal it cannot see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.envs.family import Array, Mask, TaskFamily, register

STEP = 0.1  # metres per timestep and axis at action 1
GOAL_BOX = 0.5  # goals are uniform in [-0.5, 0.5]^2 metres
TOLERANCE = 0.01  # metres per axis: closer is arrived


@register("metarl/Navigation2D-v0")
@dataclass(frozen=True)
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
    | 0, 1 | goal x, y, uniform in [-0.5, 0.5] | m |

    Reward, at the position after the move: `squared` is -|s - g|^2 (the paper's text), `distance` is -|s - g| (the code
    behind the paper's figures). The episode terminates where |dx| < 0.01 and |dy| < 0.01, and is truncated after
    `horizon` timesteps.
    """

    reward: Literal["squared", "distance"] = "squared"
    horizon: int = 100

    task_names = ("goal_x [m]", "goal_y [m]")
    achieved_name = "distance to the goal [m]"

    def __post_init__(self) -> None:
        if self.reward not in ("squared", "distance"):
            raise ValueError(f"reward must be 'squared' or 'distance'; got {self.reward!r}")
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 timestep; got {self.horizon}")

    @property
    def observation_space(self) -> Box:
        """Positions that can be reached within the horizon, and a step to spare for rounding."""
        reach = STEP * (self.horizon + 1)
        return Box(-reach, reach, (2,), np.float64)

    @property
    def action_space(self) -> Box:
        """Velocities."""
        return Box(-1.0, 1.0, (2,), np.float64)

    @property
    def task_space(self) -> Box:
        """Goals."""
        return Box(-GOAL_BOX, GOAL_BOX, (2,), np.float64)

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """Goals [n, 2], uniform in the box."""
        return rng.uniform(-GOAL_BOX, GOAL_BOX, (n, 2))

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """The origin, [n, 2]."""
        return np.zeros((len(tasks), 2))

    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        """Positions after the move, [n, 2]."""
        return states + STEP * actions

    def observe(self, states: Array, tasks: Array) -> Array:
        """The position itself, [n, 2]."""
        return states.copy()

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """One term, [n]: the negative (squared) distance to the goal."""
        distance = self.achieved(next_states, tasks)
        return {"distance": -distance if self.reward == "distance" else -(distance**2)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Where both coordinates are within 0.01 of the goal, [n]."""
        return np.all(np.abs(states - tasks) < TOLERANCE, axis=1)

    def achieved(self, states: Array, tasks: Array) -> Array:
        """Distance to the goal, [n]."""
        return np.linalg.norm(states - tasks, axis=1)

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
