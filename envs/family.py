"""The contract of a task family: one small file of batched NumPy functions, from which both environments are made.

Axes: n environments, S state, O observation, A action, k task. States are float64, one row per environment.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class TaskFamily(ABC):
    """A Markov decision process per task row; subclasses are frozen dataclasses whose fields are the options."""

    task_names: tuple[str, ...]  # k names with units
    achieved_name: str  # what `achieved` measures, with its unit
    horizon: int  # timesteps after which an episode is truncated
    timesteps_per_second: float = 10.0  # of real time, for films; without physics: a pace to watch

    @property
    @abstractmethod
    def observation_space(self) -> Box:
        """Of one environment, shape (O,), float64."""

    @property
    @abstractmethod
    def action_space(self) -> Box:
        """Of one environment, Box(-1, 1, (A,), float64)."""

    @property
    @abstractmethod
    def task_space(self) -> Box:
        """Of one task, shape (k,): every task must lie inside."""

    def valid_tasks(self, tasks: Array) -> Mask:
        """Which rows [n, k] are tasks, [n]: those inside the task space."""
        return np.all((tasks >= self.task_space.low) & (tasks <= self.task_space.high), axis=1)

    @abstractmethod
    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """n rows of the training distribution, [n, k]."""

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
        return np.zeros(len(states), np.bool_)

    @abstractmethod
    def achieved(self, states: Array, tasks: Array) -> Array:
        """What the task commands, as reached in this state, [n] (`achieved_name`)."""

    def commanded(self, tasks: Array) -> Array | None:
        """The value of `achieved` that tasks [n, k] ask for, [n]; None where it is as much, or as little, as can be."""
        return None

    @abstractmethod
    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of one episode so far: states [t, S] and its task [k]."""


class Registration(NamedTuple):
    """A registered family: its class, and the fields that its id fixes."""

    family: type[TaskFamily]
    fixed: dict[str, Any]


FAMILIES: dict[str, Registration] = {}
Family = TypeVar("Family", bound=TaskFamily)


def register(environment_id: str, **fixed: object) -> Callable[[type[Family]], type[Family]]:
    """Class decorator: make a family available to `gymnasium.make` and `gymnasium.make_vec` under this id.

    Args:
        environment_id: such as `metarl/Navigation2D-v0`.
        fixed: fields of the family with the values that this id stands for; the others are its options.
    """

    def decorate(family: type[Family]) -> type[Family]:
        FAMILIES[environment_id] = Registration(family, fixed)
        gymnasium.register(
            environment_id,
            entry_point="metarl.envs.single:TaskEnv",
            vector_entry_point="metarl.envs.batched:TaskVectorEnv",
            kwargs={"family": environment_id},
        )
        return family

    return decorate


def make_family(environment_id: str, **options: object) -> TaskFamily:
    """The family registered under an id, with its options.

    Raises:
        ValueError: an unknown id or option, or an impossible value.
    """
    if environment_id not in FAMILIES:
        raise ValueError(f"unknown environment {environment_id!r}: choose one of {', '.join(sorted(FAMILIES))}")
    family, fixed = FAMILIES[environment_id]
    known = [name for name in getattr(family, "__dataclass_fields__", {}) if name not in fixed]
    if unknown := sorted(set(options) - set(known)):
        raise ValueError(f"{environment_id} has no option {unknown[0]!r}: it has {', '.join(known) or 'none'}")
    return family(**fixed, **options)
