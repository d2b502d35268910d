"""Vector environments whose rows have tasks: a family stepped at once, and anybody's environment in a loop."""

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from metarl.envs.arguments import check_first, checked_actions, checked_mask, checked_options, checked_seeds
from metarl.envs.family import Array, Mask, make_family


class TaskVectorEnv(VectorEnv[Array, Array, NDArray[Any]]):
    """`num_envs` environments of one family, each with a task of its own.

    Tasks enter through `reset(options={"tasks": rows [n, k]})`; a reset without them keeps the tasks, the first one
    and `reset(seed=...)` draw them. Seeding follows Gymnasium: environment i gets seed + i, or the i-th of a list.
    There is no auto-reset: a finished environment is frozen (its action is ignored, its observation repeats, its
    reward is 0, its flags stay) until `reset(options={"reset_mask": [n]})` or a full reset.

    `info` of every step: `reward/<term>` [n]; `achieved` [n], what the task commands as reached so far; `diverged` [n],
    whether the simulation has broken down, which terminates the episode and makes this timestep's numbers meaningless.

    Args:
        family: registered id of the family.
        num_envs: n.
        render_mode: None or "rgb_array".
        task_in_observation: append the task to the observation (the paper's oracle).
        options: the family's own.

    Raises:
        ValueError: no environments, an unknown render mode, or whatever the family refuses.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": ["rgb_array"]}

    def __init__(
        self,
        family: str,
        num_envs: int = 1,
        *,
        render_mode: str | None = None,
        task_in_observation: bool = False,
        **options: object,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1; got {num_envs}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"unknown render_mode {render_mode!r}: choose None or 'rgb_array'")
        self.family = make_family(family, **options)
        self.render_mode = render_mode
        self.metadata = type(self).metadata | {"render_fps": self.family.timesteps_per_second}
        self._paths: list[list[Array]] = [[] for _ in range(num_envs)]  # states so far, where they are drawn
        self.num_envs = num_envs
        self.task_in_observation = task_in_observation
        self.single_action_space = self.family.action_space
        self.single_observation_space = self._observation_space()
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._tasks = np.zeros((num_envs, len(self.family.task_names)))
        self._states: Array | None = None  # until the first reset
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._terminated, self._truncated = np.zeros((2, num_envs), dtype=np.bool_)

    @property
    def tasks(self) -> Array:
        """The current tasks [n, k]."""
        return self._tasks.copy()

    @property
    def states(self) -> Array:
        """The current states [n, S] of the family. Raises ValueError before the first reset."""
        if self._states is None:
            raise ValueError("no episode has started: call reset first")
        return self._states.copy()

    @property
    def task_names(self) -> tuple[str, ...]:
        """The family's: k names with units."""
        return self.family.task_names

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """n tasks from the training distribution, [n, k]."""
        return self.family.sample_tasks(rng, n)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start episodes: all of them, or those of `options["reset_mask"]` [n] alone.

        Args:
            seed: an integer s (environment i gets s + i) or one per environment (None: keep its generator).
            options: `tasks` [n, k] and `reset_mask` [n], both optional; of tasks and seeds, too, only the rows of
                environments that the mask resets are taken.

        Raises:
            ValueError: an unknown option, tasks of the wrong shape or out of range, a mask of the wrong shape.
        """
        options = checked_options(options)
        n = self.num_envs
        mask, seeds = checked_mask(options.get("reset_mask"), n), checked_seeds(seed, n)
        rows = self._checked_tasks(options["tasks"]) if "tasks" in options else None
        first = self._states is None
        check_first(first, mask)

        chosen = np.flatnonzero(mask)  # all is valid: from here on these environments change, and no other
        for i in chosen:
            if seeds[i] is not None:
                self._rngs[i] = np.random.default_rng(seeds[i])
            if rows is not None:
                self._tasks[i] = rows[i]
            elif first or seeds[i] is not None:
                self._tasks[i] = self.family.sample_tasks(self._rngs[i], 1)[0]
        if len(chosen):
            states = self.family.initial_state(self._tasks[chosen], [self._rngs[i] for i in chosen])
            self._states = self._with_rows(self._states, slice(None) if mask.all() else chosen, states)
        assert self._states is not None  # the first reset starts every environment
        self._elapsed[chosen] = 0
        self._terminated[chosen] = self._truncated[chosen] = False
        if self.render_mode is not None:
            for i in chosen:
                self._paths[i] = [self._states[i].copy()]
        return self._observe(), {"achieved": self.family.achieved(self._states, self._tasks)}

    def step(self, actions: ArrayLike) -> tuple[Array, Array, Mask, Mask, dict[str, Any]]:
        """One timestep of every running environment.

        Args:
            actions: [n, A]; clipped to [-1, 1] inside, as the paper does.

        Returns:
            observations [n, O], rewards [n], terminated [n], truncated [n], info.

        Raises:
            ValueError: actions of the wrong shape, or not finite in a running environment; no reset before.
        """
        if self._states is None:
            raise ValueError("no episode has started: call reset first")
        running = ~(self._terminated | self._truncated)
        rows = slice(None) if running.all() else np.flatnonzero(running)  # a slice copies nothing
        actions = checked_actions(actions, self.action_space.shape, running)
        before, clipped, task = self._states[rows], actions[rows].clip(-1, 1), self._tasks[rows]
        after = self.family.transition(before, clipped, task)
        terms = self.family.reward_terms(before, clipped, after, task)

        self._states = self._with_rows(self._states, rows, after)
        if self.render_mode is not None:
            for i in np.flatnonzero(running):
                self._paths[i].append(self._states[i].copy())
        self._elapsed[rows] += 1
        diverged = self.family.diverged(self._states)
        self._terminated[rows] = self.family.terminated(after, task) | diverged[rows]
        self._truncated = (self._elapsed >= self.family.horizon) & ~self._terminated
        nothing, total = np.zeros(self.num_envs), np.zeros(len(after)) + sum(terms.values())
        info: dict[str, Any] = {"achieved": self.family.achieved(self._states, self._tasks), "diverged": diverged}
        info |= {f"reward/{name}": self._with_rows(nothing, rows, values) for name, values in terms.items()}
        rewards = self._with_rows(nothing, rows, total)
        return self._observe(), rewards, self._terminated.copy(), self._truncated.copy(), info

    @staticmethod
    def _with_rows(array: Array | None, rows: slice | NDArray[np.intp], values: Array) -> Array:
        """A copy of the array with new rows; the values themselves where they are all rows."""
        if isinstance(rows, slice) or array is None:
            return values
        copy = array.copy()
        copy[rows] = values
        return copy

    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Every environment's episode so far as a picture [height, width, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        return tuple(
            self.family.render(np.array(path), task) for path, task in zip(self._paths, self._tasks, strict=True)
        )

    def _observe(self) -> Array:
        assert self._states is not None  # reset has been called
        observations = self.family.observe(self._states, self._tasks)
        return np.concatenate([observations, self._tasks], 1) if self.task_in_observation else observations

    def _observation_space(self) -> Box:
        space, task = self.family.observation_space, self.family.task_space
        if not self.task_in_observation:
            return space
        return Box(np.concatenate([space.low, task.low]), np.concatenate([space.high, task.high]), dtype=np.float64)

    def _checked_tasks(self, tasks: ArrayLike) -> Array:
        rows, space = np.array(tasks, dtype=np.float64), self.family.task_space
        expected = (self.num_envs, *space.shape)
        if rows.shape != expected:
            raise ValueError(
                f"tasks must have shape {expected}, one row ({', '.join(self.family.task_names)}) per environment; "
                f"got {rows.shape}"
            )
        valid = self.family.valid_tasks(rows)  # nan is not
        if not valid.all():
            names = ", ".join(self.family.task_names)
            raise ValueError(f"task {rows[~valid][0]} is outside {space.low} .. {space.high}: {names}")
        return rows


class LoopVectorEnv(VectorEnv[Array, Array, NDArray[Any]]):
    """Anybody's single environment, `num_envs` times in a loop, behind the contract of TaskVectorEnv.

    The environment's `reset` takes `options={"task": row [k]}`, and its unwrapped self has
    `sample_tasks(rng, n) -> [n, k]`. Actions are rescaled from [-1, 1] to its bounds and clipped there, so that every
    policy acts in [-1, 1]. Of its `info` only `achieved` (a number) and `diverged` (a truth value) are passed on.

    Args:
        make_env: makes one environment.
        num_envs: n.
        task_in_observation: append the task to the observation (the paper's oracle).

    Raises:
        ValueError: no environments; an environment without `sample_tasks`, or whose observations are not a vector, or
            whose actions are not a bounded vector.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(
        self, make_env: Callable[[], gymnasium.Env], num_envs: int = 1, *, task_in_observation: bool = False
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1; got {num_envs}")
        first = make_env()
        space, actions = first.observation_space, first.action_space
        if not hasattr(first.unwrapped, "sample_tasks"):
            raise ValueError(f"{first} cannot be meta-trained: it has no method sample_tasks(rng, n) -> tasks [n, k]")
        if not (isinstance(space, Box) and len(space.shape) == 1):
            raise ValueError(f"{first} cannot be meta-trained: observations must be a vector (Box); got {space}")
        if not (isinstance(actions, Box) and len(actions.shape) == 1 and actions.is_bounded()):
            raise ValueError(
                f"{first} cannot be meta-trained: its actions must be a bounded vector (Box); got {actions}"
            )
        self._task_size = _task_size(first)
        self.task_in_observation = task_in_observation
        rest = [make_env() for _ in range(num_envs - 1)]
        self._envs, self._bounds = [first, *rest], actions
        self.num_envs, self.render_mode = num_envs, first.render_mode
        self.metadata = type(self).metadata | {"render_fps": first.metadata.get("render_fps") or 25}
        self.task_names = getattr(first.unwrapped, "task_names", None)
        self.single_observation_space = self._observation_space(space)
        self.single_action_space = Box(-1.0, 1.0, actions.shape, np.float64)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._tasks: Array | None = None  # until the first reset
        self._observations = np.zeros((num_envs, *space.shape))
        self._terminated, self._truncated, self._diverged = np.zeros((3, num_envs), dtype=np.bool_)
        self._achieved = np.full(num_envs, np.nan)

    @property
    def tasks(self) -> Array:
        """The current tasks [n, k]. Raises ValueError before the first reset."""
        if self._tasks is None:
            raise ValueError("no episode has started: call reset first")
        return self._tasks.copy()

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """n tasks of the environment's own distribution, [n, k]."""
        return np.asarray(self._envs[0].unwrapped.sample_tasks(rng, n), np.float64)  # pyright: ignore  # checked above

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start episodes, as TaskVectorEnv.reset does; what a task may be, the environment knows."""
        options = checked_options(options)
        n = self.num_envs
        mask, seeds = checked_mask(options.get("reset_mask"), n), checked_seeds(seed, n)
        shape = (n, self._task_size)
        rows = np.array(options["tasks"], np.float64) if "tasks" in options else None
        if rows is not None and rows.shape != shape:
            raise ValueError(f"tasks must have shape {shape}, one row per environment; got {rows.shape}")
        if rows is not None and not np.isfinite(rows).all():
            raise ValueError(f"tasks must be finite; got {rows[~np.isfinite(rows).all(1)][0]}")
        first = self._tasks is None
        check_first(first, mask)
        tasks = np.zeros(shape) if self._tasks is None else self._tasks
        for i in np.flatnonzero(mask):
            if seeds[i] is not None:
                self._rngs[i] = np.random.default_rng(seeds[i])
            if rows is not None:
                tasks[i] = rows[i]
            elif first or seeds[i] is not None:
                tasks[i] = self.sample_tasks(self._rngs[i], 1)[0]
            own = None if seeds[i] is None else int(self._rngs[i].integers(2**31))  # libraries want small seeds
            self._observations[i], info = self._envs[i].reset(seed=own, options={"task": tasks[i].copy()})
            self._achieved[i] = info.get("achieved", np.nan)
        self._tasks = tasks
        self._terminated[mask] = self._truncated[mask] = self._diverged[mask] = False
        return self._observe(), {"achieved": self._achieved.copy()}

    def step(self, actions: ArrayLike) -> tuple[Array, Array, Mask, Mask, dict[str, Any]]:
        """One timestep of every running environment; see TaskVectorEnv.step."""
        if self._tasks is None:
            raise ValueError("no episode has started: call reset first")
        running = ~(self._terminated | self._truncated)
        clipped = checked_actions(actions, self.action_space.shape, running).clip(-1, 1)
        rewards, low, high = np.zeros(self.num_envs), self._bounds.low, self._bounds.high
        for i in np.flatnonzero(running):
            action = (low + (clipped[i] + 1) / 2 * (high - low)).astype(self._bounds.dtype).clip(low, high)
            seen, rewards[i], self._terminated[i], self._truncated[i], info = self._envs[i].step(action)
            self._observations[i], self._achieved[i] = seen, info.get("achieved", np.nan)
            self._diverged[i] = info.get("diverged", False)
        info = {"achieved": self._achieved.copy(), "diverged": self._diverged.copy()}
        return self._observe(), rewards, self._terminated.copy(), self._truncated.copy(), info

    def _observe(self) -> Array:
        assert self._tasks is not None  # reset has been called
        return np.concatenate([self._observations, *[self._tasks] * self.task_in_observation], 1)

    def _observation_space(self, space: Box) -> Box:
        if not self.task_in_observation:
            return space
        unbounded = np.full(self._task_size, np.inf)  # what tasks may be, only the environment knows
        return Box(np.concatenate([space.low, -unbounded]), np.concatenate([space.high, unbounded]), dtype=np.float64)

    def render(self) -> tuple[Any, ...] | None:
        """What each environment draws; None without a render mode. Raises ValueError if it lacks a library for that."""
        if self.render_mode is None:
            return None
        try:
            return tuple(env.render() for env in self._envs)
        except gymnasium.error.DependencyNotInstalled as error:
            raise ValueError(f"{self._envs[0]} cannot draw itself here: {error}") from error

    def close_extras(self, **kwargs: Any) -> None:
        """Close them all."""
        for env in self._envs:
            env.close()


def _task_size(env: gymnasium.Env) -> int:
    """k of the tasks that an environment samples. Raises ValueError if they are not rows."""
    rows = np.asarray(env.unwrapped.sample_tasks(np.random.default_rng(0), 2))  # pyright: ignore  # it has one
    if rows.ndim != 2 or len(rows) != 2:
        raise ValueError(f"{env} cannot be meta-trained: sample_tasks(rng, 2) must be [2, k]; got {rows.shape}")
    return rows.shape[1]
