"""The contract of a Markov decision process per task: batched functions, from which both environments are made.

Axes: n environments, S state, O observation, A action, k task. States are float64, one row per environment.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.envs.arrays import Array, Mask, namespace
from metarl.rl.environments import TaskDistribution


class TaskProcess(ABC):
    """A Markov decision process for every task row.

    `observe`, `reward_terms`, `terminated`, `achieved`, `succeeded` and `commanded` are formulas of arrays of either
    library (arrays.py); `initial_state` starts on the host, and so gives NumPy's.
    """

    tasks: TaskDistribution
    usual_horizon: ClassVar[int] = 200  # timesteps of an episode where nobody says another number
    timesteps_per_second: float = 10.0  # of real time, for films; without physics: a pace to watch

    @property
    @abstractmethod
    def observation_space(self) -> Box:
        """Of one environment, shape (O,), float64."""

    @property
    @abstractmethod
    def action_space(self) -> Box:
        """Of one environment, Box(-1, 1, (A,), float64)."""

    @abstractmethod
    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """States at the start of an episode, [n, S]; row i draws from rngs[i] alone."""

    @abstractmethod
    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        """States one timestep later, [n, S]. Actions [n, A] are already clipped to [-1, 1]."""

    @abstractmethod
    def observe(self, states: Array, tasks: Array) -> Array:
        """Observations [n, O]."""

    @abstractmethod
    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """Named terms, each [n], that sum to the reward."""

    @abstractmethod
    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Where the episode ends in this state, [n]."""

    def diverged(self, states: Array) -> Mask:
        """Where the simulation has broken down and this is the last state before, [n]; nowhere, without physics."""
        arrays = namespace(states)
        return arrays.zeros_like(states[:, 0], dtype=arrays.bool)

    @abstractmethod
    def achieved(self, states: Array, tasks: Array) -> Array:
        """What the task commands, as reached in this state, [n] (`achieved_name` says what)."""

    def succeeded(self, states: Array, tasks: Array) -> Mask | None:
        """Where the task is done in this state, [n]; None: tasks that are never done, only done better or worse."""
        return None

    @abstractmethod
    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of one episode so far: states [t, S] and its task [k]."""
