"""The part that a run chooses as its environment, and its distribution over tasks.

Axes: n environments or tasks, k numbers of a task.
"""

from abc import ABC, abstractmethod
from contextlib import closing
from typing import Any, ClassVar, Self

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from metarl.parts import Part, Registry
from metarl.rl.contract import check_vector
from metarl.rl.spaces import environment_actions
from metarl.starting_folder import moves
from metarl.tasks import Split


class TaskDistribution(ABC):
    """Tasks as rows [n, k]: how they are drawn, what they may be at all, and which of them training may meet."""

    names: tuple[str, ...]  # k names with units
    must_be: str = "finite numbers"  # what `valid` demands, in words

    @abstractmethod
    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> NDArray[np.float64]:
        """Draw n rows [n, k]."""

    def valid(self, tasks: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which rows [n, k] an environment can be given, [n]: more than are ever drawn."""
        return np.all(np.isfinite(tasks), axis=1)

    @abstractmethod
    def in_distribution(self, tasks: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which rows [n, k] training may draw, [n]."""


class WorkerError(RuntimeError):
    """A worker process of environments failed; `traceback` is that of the environment's code, where it is known."""

    def __init__(self, message: str, traceback: str = "") -> None:
        super().__init__(message, traceback)
        self.message = message
        self.traceback = traceback.strip()

    def __str__(self) -> str:
        """The worker's traceback, and the message below it."""
        return f"{self.message}\n\n{self.traceback}" if self.traceback else self.message


class Environment(Part, ABC):
    """Base of the parts of the kind `environment`: its fields are the options of one environment."""

    tasks: TaskDistribution
    traced_episodes: ClassVar[int] = 0  # episodes per task whose observations an evaluation keeps for figures
    achieved_name: str = "achieved"  # what `info["achieved"]` measures, with its unit

    @abstractmethod
    def build(
        self, num_envs: int, *, horizon: int, render_mode: str | None = None, task_in_observation: bool = False
    ) -> VectorEnv:
        """Make n environments that take tasks by `reset(options={"tasks": rows [n, k]})`, without auto-reset.

        Args:
            num_envs: n.
            horizon: timesteps of an episode at most.
            render_mode: None, or "rgb_array" to draw them.
            task_in_observation: append the task to the observation (the paper's oracle).

        Raises:
            ValueError: `num_envs` is below 1, or the environment refuses an option.
        """

    def on(self, device: str) -> Self:
        """The same environment for a run on a torch device; here as it is, with NumPy's arrays on the host."""
        return self

    @abstractmethod
    def spaces(self, *, task_in_observation: bool = False) -> tuple[Space, Space]:
        """The spaces of one environment's observations and actions."""

    @property
    def own_spaces(self) -> tuple[Space, Space]:
        """The spaces of one environment's observations and actions as its user sees it."""
        return self.spaces()

    def remarks(self, horizon: int) -> list[str]:
        """Check that these environments can be meta-trained in, and list remarks on them, one line each.

        Raises:
            ValueError: they cannot be meta-trained in; see `check_vector`.
        """
        with moves() as moved, closing(self.build(2, horizon=horizon)) as env:
            remarks = check_vector(env, horizon)
        return remarks + moved

    def flat(self, observation: Any) -> NDArray[Any]:
        """Make the vector [..., O] that policies see from an observation as one environment gives it."""
        return np.asarray(observation)

    def own_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Make the action that one environment takes, in its own units and bounds, from a policy's [..., A]."""
        _, space = self.own_spaces
        if isinstance(space, Box):
            return actions.astype(np.float64).clip(space.low, space.high)
        return environment_actions(space)(actions)

    def commanded(self, tasks: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The value of `achieved` that tasks [n, k] ask for, [n]; None where they ask for the most or the least."""
        return None


ENVIRONMENTS: Registry[Environment] = Registry(
    "environment",
    "metarl.envs",
    apart=("metarl.envs.physics", "metarl.envs.mujoco_rendering"),
    adopted="a class of gymnasium.Env or VectorEnv, a function that makes a gymnasium.Env",
    base=Environment,
)
