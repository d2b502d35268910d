"""The base of families of points on a plane, which move by their actions, and how they are drawn.

Axes: n environments, k task.
"""

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.arrays import Array
from metarl.envs.family import TaskFamily
from metarl.extras import needs

REACH = 1e7  # metres: bound of the observations, farther than any episode goes


class Point(TaskFamily):
    """Base of the points: the state and the observation are the position x, y [m], the action is a velocity.

    An action a moves the point by `step` clip(a, -1, 1) metres per timestep. `achieved` is the distance to the goal.
    """

    step: ClassVar[float]  # metres per timestep and axis at action 1
    view: ClassVar[float]  # metres: pictures show [-view, view]^2

    takes_tensors: ClassVar[bool] = True
    traced_episodes: ClassVar[int] = 1
    achieved_name = "distance to the goal [m]"

    def goals(self, tasks: Array) -> Array:
        """The places where tasks [n, k] want the point to be, [n, 2]; here the tasks' own numbers."""
        return tasks

    @property
    def observation_space(self) -> Box:
        """The space of positions."""
        return Box(-REACH, REACH, (2,), np.float64)

    @property
    def action_space(self) -> Box:
        """The space of velocities."""
        return Box(-1.0, 1.0, (2,), np.float64)

    @abstractmethod
    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """Positions at the start, [n, 2]."""

    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        """Positions after the move, [n, 2]."""
        return states + self.step * actions

    def observe(self, states: Array, tasks: Array) -> Array:
        """The position itself, [n, 2]."""
        # A new array, because callers may write into it.
        return states + 0.0

    def achieved(self, states: Array, tasks: Array) -> Array:
        """Distance to the goal, [n]."""
        return ((states - self.goals(tasks)) ** 2).sum(axis=1) ** 0.5

    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """Draw the path so far, the point and the goal, 400 x 400 pixels.

        The axes are the same in every picture; a point outside is drawn at their border.
        """
        scene = _scene(self.view, *map(float, self.goals(task[None])[0]))
        return scene.draw(path, path[-1].clip(-self.view, self.view))


class _Scene:
    """Axes and a goal, drawn once. Paths are drawn over a copy, which takes a fiftieth of the time."""

    def __init__(self, view: float, goal: tuple[float, float]) -> None:
        # Imported here, because the import takes 0.4 s.
        with needs("plots", "pictures of points"):
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure

        figure = Figure(figsize=(4, 4), dpi=100, layout="constrained")
        self._canvas = FigureCanvasAgg(figure)
        self._axes = figure.add_subplot(aspect="equal")
        self._axes.set(xlim=(-view, view), ylim=(-view, view), xlabel="x [m]", ylabel="y [m]")
        (self._line,) = self._axes.plot([], [], color="tab:blue", linewidth=1.5)
        (self._point,) = self._axes.plot([], [], "o", color="tab:blue", label="position", clip_on=False)
        self._axes.plot(*goal, "*", color="tab:red", markersize=14, label="goal")
        self._axes.legend(loc="upper right")
        self._canvas.draw()
        self._empty = self._canvas.copy_from_bbox(figure.bbox)

    def draw(self, path: Array, position: Array) -> NDArray[np.uint8]:
        """A picture with a path [t, 2] and a position [2]."""
        self._canvas.restore_region(self._empty)
        self._line.set_data(path[:, 0], path[:, 1])
        self._point.set_data(position[:1], position[1:])
        self._axes.draw_artist(self._line)
        self._axes.draw_artist(self._point)
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


@functools.lru_cache(maxsize=8)
def _scene(view: float, x: float, y: float) -> _Scene:
    return _Scene(view, (x, y))
