"""The contract of a Markov decision process per task: batched functions, of which both kinds of environment are made.

Axes: n environments, S state, O observation, A action, k task. States are float64, one row per environment.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.arrays import Array, Mask, nowhere
from metarl.rl.environments import TaskDistribution


class TaskProcess(ABC):
    """A Markov decision process for every task.

    `observe`, `reward_terms`, `terminated`, `achieved`, `succeeded` and `commanded` are formulas of NumPy's arrays or
    torch's (metarl/arrays.py). `transition` need be one only where `device` is set, and `initial_state`, which is given
    NumPy's arrays, may give NumPy's there too.
    """

    device: str | None = None  # the torch device that states, actions and tasks are on; None: they are NumPy's arrays
    tasks: TaskDistribution
    usual_horizon: ClassVar[int] = 200  # timesteps of an episode by default
    timesteps_per_second: float = 10.0  # of real time, for films; without physics any pace that is pleasant to watch

    @property
    @abstractmethod
    def observation_space(self) -> Box:
        """The space of one environment's observations, shape (O,), float64."""

    @property
    @abstractmethod
    def action_space(self) -> Box:
        """The space of one environment's actions, Box(-1, 1, (A,), float64)."""

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
        """Where the simulation has broken down, and the state is the last one before that, [n]; here nowhere."""
        return nowhere(states)

    @abstractmethod
    def achieved(self, states: Array, tasks: Array) -> Array:
        """The value, in this state, of what the task commands, [n] (`achieved_name` says what that is)."""

    def succeeded(self, states: Array, tasks: Array) -> Mask | None:
        """Where the task is done in this state, [n]; None for tasks that are done better or worse, but never done."""
        return None

    @abstractmethod
    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of an episode so far, from its states [t, S] and its task [k]."""
