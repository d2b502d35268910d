"""Example of a task family in one file: a cart on a line is pushed to a place that it cannot see."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.arrays import Array, Mask
from metarl.envs.family import TaskFamily, register
from metarl.envs.tasks import Uniform


@register("example/Line-v0")
@dataclass(frozen=True, kw_only=True)
class Line(TaskFamily):
    """Observation: position x [m], velocity v [m/s]. Action: acceleration [m/s^2]. Task: place g. Reward: -|x - g|."""

    usual_horizon: ClassVar[int] = 50
    achieved_name = "distance to the place [m]"
    tasks = Uniform(("place [m]",), (-1.0,), (1.0,))

    @property
    def observation_space(self) -> Box:
        return Box(-1e3, 1e3, (2,), np.float64)

    @property
    def action_space(self) -> Box:
        return Box(-1.0, 1.0, (1,), np.float64)

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        return np.stack([rng.normal(0.0, 0.01, 2) for rng in rngs])

    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        velocity = 0.9 * states[:, 1] + 0.1 * actions[:, 0]
        return np.stack([states[:, 0] + 0.1 * velocity, velocity], axis=1)

    def observe(self, states: Array, tasks: Array) -> Array:
        return states.copy()

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        return {"distance": -self.achieved(next_states, tasks)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        return np.zeros(len(states), np.bool_)

    def achieved(self, states: Array, tasks: Array) -> Array:
        return np.abs(states[:, 0] - tasks[:, 0])

    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        picture = np.full((40, 400, 3), 255, np.uint8)
        for place, colour in ((task[0], (200, 0, 0)), (path[-1, 0], (0, 0, 200))):
            column = int(np.clip(200 + 150 * place, 4, 395))
            picture[:, column - 3 : column + 4] = colour
        return picture
