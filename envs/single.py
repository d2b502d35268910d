"""TaskEnv: a process as a plain `gymnasium.Env`, made of a TaskVectorEnv of one environment."""

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from metarl.arrays import Array
from metarl.envs.batched import TaskVectorEnv
from metarl.envs.family import make_family
from metarl.envs.process import TaskProcess
from metarl.tasks import Split


class TaskEnv(gymnasium.Env[Array, Array]):
    """One environment of a process. `reset(options={"task": row [k]})` sets the task, which later resets keep.

    Args:
        process: see TaskVectorEnv.
        horizon: see TaskVectorEnv.
        render_mode: None or "rgb_array", a picture of the episode so far.
        task_in_observation: see TaskVectorEnv.

    Raises:
        ValueError: the horizon is below 1, or the render mode unknown.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        process: TaskProcess,
        *,
        horizon: int | None = None,
        render_mode: str | None = None,
        task_in_observation: bool = False,
    ) -> None:
        self._batch = TaskVectorEnv(
            process, 1, horizon=horizon, render_mode=render_mode, task_in_observation=task_in_observation
        )
        self.render_mode = render_mode
        self.metadata = type(self).metadata | {"render_fps": self._batch.metadata["render_fps"]}
        self.observation_space = self._batch.single_observation_space
        self.action_space = self._batch.single_action_space

    @property
    def task(self) -> Array:
        """The current task [k]."""
        return self._batch.tasks[0]

    @property
    def task_names(self) -> tuple[str, ...]:
        """The k names of a task's numbers, with units."""
        return self._batch.task_names

    def sample_tasks(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n tasks, [n, k]."""
        return self._batch.sample_tasks(rng, n, split)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode; `options={"task": row [k]}` sets the task.

        Raises:
            ValueError: an unknown option, a task of the wrong shape or out of range.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := sorted(set(options) - {"task"}):
            raise ValueError(f"unknown reset option {unknown[0]!r}: choose task")
        batched = {"tasks": np.asarray(options["task"])[None]} if "task" in options else {}
        observations, info = self._batch.reset(seed=seed, options=batched)
        return observations[0], {name: values[0] for name, values in info.items()}

    def step(self, action: ArrayLike) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Make one timestep; action [A] is clipped to [-1, 1]. Raises ValueError if it is misshapen or not finite."""
        observations, rewards, terminated, truncated, info = self._batch.step(np.asarray(action)[None])
        values = {name: values[0] for name, values in info.items()}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), values

    def render(self) -> NDArray[np.uint8] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The episode so far as a picture [height, width, 3], or None without a render mode."""
        frames = self._batch.render()
        return None if frames is None else frames[0]


def make_single(
    family: str,
    *,
    horizon: int | None = None,
    render_mode: str | None = None,
    task_in_observation: bool = False,
    **values: object,
) -> TaskEnv:
    """Make a TaskEnv for `gymnasium.make`; `values` are options of the family."""
    made = make_family(family, **values)
    return TaskEnv(made, horizon=horizon, render_mode=render_mode, task_in_observation=task_in_observation)
