"""TaskVectorEnv: n environments of one process, stepped together, each with a task of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from metarl.arguments import require_built, require_integers, require_truths
from metarl.arrays import Array, Mask, copied, known_all, namespace, on_device, on_host
from metarl.envs.arguments import (
    check_first,
    checked_actions,
    checked_mask,
    checked_options,
    checked_seeds,
    checked_tensors,
    require_environments,
)
from metarl.envs.process import TaskProcess
from metarl.tasks import Split


class TaskVectorEnv(VectorEnv[Array, Array, NDArray[Any]]):
    """`num_envs` environments of one process, each with a task of its own.

    Tasks are set by `reset(options={"tasks": rows [n, k]})`. Without that, the first reset and `reset(seed=...)` draw
    tasks, and other resets keep them. Seeding follows Gymnasium: environment i gets seed + i, or the i-th of a list.
    There is no auto-reset: a finished environment is frozen (its action is ignored, its observation repeats, its
    reward is 0, its flags stay) until `reset(options={"reset_mask": [n]})` or a full reset.

    Environments of a process on a device (`tensor_device`) take and return tensors there, except for tasks and the
    arguments of resets. A timestep then neither copies to the host nor waits for the device, so that actions that are
    not finite are not found: simulations break down under them.

    The `info` of every step has `reward/<term>` [n]; `achieved` [n], the present value of what the task commands;
    `success` [n], whether the task is done, for tasks that can be done; and `diverged` [n], whether the simulation has
    broken down, which terminates the episode and makes this timestep's numbers meaningless.

    Args:
        process: the Markov decision process of every task.
        num_envs: n.
        horizon: timesteps after which an episode is truncated; None: the process's usual number.
        render_mode: None or "rgb_array".
        task_in_observation: append the task to the observation (the paper's oracle).

    Raises:
        ValueError: `num_envs` or the horizon is below 1, there is no room for so many environments, or the render mode
            is unknown.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": ["rgb_array"]}

    def __init__(
        self,
        process: TaskProcess,
        num_envs: int = 1,
        *,
        horizon: int | None = None,
        render_mode: str | None = None,
        task_in_observation: bool = False,
    ) -> None:
        require_built(process=(process, TaskProcess))
        require_environments(num_envs)
        require_truths(task_in_observation=task_in_observation)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"unknown render_mode {render_mode!r}: choose None or 'rgb_array'")
        self.horizon = process.usual_horizon if horizon is None else horizon
        require_integers(1, horizon=self.horizon)
        self.process = process
        self.render_mode = render_mode
        self.metadata = type(self).metadata | {"render_fps": process.timesteps_per_second}
        self._paths: list[list[Array]] = [[] for _ in range(num_envs)]  # states so far, if pictures are drawn
        self.num_envs = num_envs
        self.task_in_observation = task_in_observation
        self.single_action_space = process.action_space
        space = process.observation_space
        size = len(process.tasks.names)
        self.single_observation_space = with_task(space, size) if task_in_observation else space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self.tensor_device = process.device
        self._tasks = np.zeros((num_envs, size))
        self._commands: Array = self._tasks  # the same where the states are, and in their dtype
        self._states: Array | None = None  # until the first reset
        self._elapsed = on_device(np.zeros(num_envs, dtype=np.int64), self.tensor_device)
        self._terminated, self._truncated = on_device(np.zeros((2, num_envs), dtype=np.bool_), self.tensor_device)

    @property
    def tasks(self) -> Array:
        """The current tasks [n, k]."""
        return self._tasks.copy()

    @property
    def states(self) -> Array:
        """The current states [n, S] of the process. Raises ValueError before the first reset."""
        if self._states is None:
            raise ValueError("no episode has started: call reset first")
        return copied(self._states)

    @property
    def task_names(self) -> tuple[str, ...]:
        """The k names of a task's numbers, with units."""
        return self.process.tasks.names

    @property
    def achieved_name(self) -> str:
        """What `info["achieved"]` measures, with its unit."""
        return getattr(self.process, "achieved_name", "achieved")

    def sample_tasks(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n tasks, [n, k]."""
        return self.process.tasks.sample(rng, n, split)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start episodes: all of them, or those of `options["reset_mask"]` [n] alone.

        Args:
            seed: an integer s (environment i gets s + i) or one per environment (None: keep its generator).
            options: `tasks` [n, k] and `reset_mask` [n], both optional. With a mask, only the rows of tasks and seeds
                that belong to reset environments are read.

        Raises:
            ValueError: an unknown option, tasks of the wrong shape or out of range, a mask of the wrong shape.
        """
        options = checked_options(options)
        n = self.num_envs
        mask = checked_mask(options.get("reset_mask"), n)
        seeds = checked_seeds(seed, n)
        rows = self._checked_tasks(options["tasks"]) if "tasks" in options else None
        first = self._states is None
        check_first(first, mask)

        # All arguments are valid. From here on the chosen environments change, and no other.
        chosen = np.flatnonzero(mask)
        for i in chosen:
            if seeds[i] is not None:
                self._rngs[i] = np.random.default_rng(seeds[i])
            if rows is not None:
                self._tasks[i] = rows[i]
            elif first or seeds[i] is not None:
                self._tasks[i] = self.sample_tasks(self._rngs[i], 1)[0]
        which = slice(None) if mask.all() else chosen
        if len(chosen):
            states = self.process.initial_state(self._tasks[chosen], [self._rngs[i] for i in chosen])
            self._states = self._with_rows(self._states, which, on_device(states, self.tensor_device))
        assert self._states is not None  # the first reset starts every environment
        if self.tensor_device is not None:
            # A new tensor at every reset: a process may keep by it what it has made of the tasks.
            self._commands = on_device(self._tasks.copy(), self.tensor_device, self._states.dtype)
        self._elapsed[which] = 0
        self._terminated[which] = False
        self._truncated[which] = False
        if self.render_mode is not None:
            for i in chosen:
                self._paths[i] = [on_host(copied(self._states[i]))]
        return self._observe(), self._reached()

    def step(self, actions: ArrayLike) -> tuple[Array, Array, Mask, Mask, dict[str, Any]]:
        """Make one timestep of every running environment.

        Args:
            actions: [n, A]; clipped to [-1, 1] here, as in the paper.

        Returns:
            observations [n, O], rewards [n], terminated [n], truncated [n], info.

        Raises:
            ValueError: actions of the wrong shape, or not finite in a running environment; no reset before.
        """
        if self._states is None:
            raise ValueError("no episode has started: call reset first")
        running = ~(self._terminated | self._truncated)
        # A slice copies nothing. On a device all environments move, and those that had ended are put back.
        everywhere = self.tensor_device is not None or known_all(running)
        rows = slice(None) if everywhere else np.flatnonzero(running)
        actions = self._checked(actions, running)
        before = self._states if everywhere else self._states[rows]
        clipped = actions[rows].clip(-1, 1)
        task = self._commands if everywhere else self._commands[rows]
        after = self.process.transition(before, clipped, task)
        terms = self.process.reward_terms(before, clipped, after, task)
        if self.tensor_device is not None:
            where = namespace(running).where
            after = where(running[:, None], after, before)
            terms = {name: where(running, values, 0.0) for name, values in terms.items()}

        self._states = self._with_rows(self._states, rows, after)
        if self.render_mode is not None:
            for i in np.flatnonzero(on_host(running)):
                self._paths[i].append(on_host(copied(self._states[i])))
        self._elapsed[rows] += 1
        diverged = self.process.diverged(self._states)
        self._terminated[rows] = self.process.terminated(after, task) | diverged[rows]
        self._truncated = (self._elapsed >= self.horizon) & ~self._terminated
        nothing = namespace(after).zeros_like(self._states[:, 0])
        rewards = self._with_rows(nothing, rows, namespace(after).zeros_like(after[:, 0]) + sum(terms.values()))
        info = self._reached() | {"diverged": diverged}
        info |= {f"reward/{name}": self._with_rows(nothing, rows, values) for name, values in terms.items()}
        return self._observe(), rewards, copied(self._terminated), copied(self._truncated), info

    @staticmethod
    def _with_rows(array: Array | None, rows: slice | NDArray[np.intp], values: Array) -> Array:
        """A copy of the array with new rows; if these are all rows, the values themselves."""
        if isinstance(rows, slice) or array is None:
            return values
        copy = copied(array)
        copy[rows] = values
        return copy

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Every environment's episode so far as a picture [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(
            self.process.render(np.array(path), task) for path, task in zip(self._paths, self._tasks, strict=True)
        )

    def _checked(self, actions: Any, running: Mask) -> Array:
        """Actions [n, A] where the states are. Raises ValueError; see `step`."""
        if self.tensor_device is not None:
            return checked_tensors(actions, self.action_space.shape, self._states)
        return checked_actions(actions, self.action_space.shape, running)

    def _observe(self) -> Array:
        assert self._states is not None  # reset has been called
        observations = self.process.observe(self._states, self._commands)
        if not self.task_in_observation:
            return observations
        return namespace(observations).concat([observations, self._commands], axis=1)

    def _reached(self) -> dict[str, Any]:
        """The entries of `info` that depend on the states alone."""
        assert self._states is not None  # reset has been called
        success = self.process.succeeded(self._states, self._commands)
        reached = {"achieved": self.process.achieved(self._states, self._commands)}
        return reached if success is None else reached | {"success": success}

    def _checked_tasks(self, tasks: ArrayLike) -> Array:
        rows = np.array(tasks, dtype=np.float64)
        own = self.process.tasks
        expected = (self.num_envs, len(own.names))
        names = ", ".join(own.names)
        if rows.shape != expected:
            raise ValueError(f"tasks must have shape {expected}, one row ({names}) per environment; got {rows.shape}")
        valid = own.valid(rows)
        if not valid.all():
            raise ValueError(f"a task ({names}) must be {own.must_be}; got {rows[~valid][0]}")
        return rows


def with_task(space: Box, size: int) -> Box:
    """The space of observations that are followed by a task of `size` unbounded numbers."""
    unbounded = np.full(size, np.inf)
    return Box(np.concatenate([space.low, -unbounded]), np.concatenate([space.high, unbounded]), dtype=np.float64)
