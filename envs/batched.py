"""TaskVectorEnv: all tasks x episodes of a family stepped at once, as a `gymnasium.vector.VectorEnv`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from envs.family import Array, Mask, make_family


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
        task_in_observation: append the task to the observation (the paper's oracle).
        options: the family's own.

    Raises:
        ValueError: no environments, or whatever the family refuses.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(self, family: str, num_envs: int = 1, *, task_in_observation: bool = False, **options: object) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1; got {num_envs}")
        self.family = make_family(family, **options)
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
        options = options or {}
        if unknown := sorted(set(options) - {"tasks", "reset_mask"}):
            raise ValueError(f"unknown reset option {unknown[0]!r}: choose tasks or reset_mask")
        mask, seeds = self._checked_mask(options.get("reset_mask")), self._checked_seeds(seed)
        rows = self._checked_tasks(options["tasks"]) if "tasks" in options else None
        first = self._states is None
        if first and not mask.all():
            raise ValueError("the first reset must start every environment; reset_mask leaves some out")

        chosen = np.flatnonzero(mask)  # all is valid: from here on these environments change, and no other
        for i in chosen:
            if seeds[i] is not None:
                self._rngs[i] = np.random.default_rng(seeds[i])
            if rows is not None:
                self._tasks[i] = rows[i]
            elif first or seeds[i] is not None:
                self._tasks[i] = self.family.sample_tasks(self._rngs[i], 1)[0]
        states = self.family.initial_state(self._tasks[chosen], [self._rngs[i] for i in chosen])
        if self._states is None:
            self._states = states
        else:
            self._states[chosen] = states
        self._elapsed[chosen] = 0
        self._terminated[chosen] = self._truncated[chosen] = False
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
        states, tasks = self.states, self._tasks
        running = np.flatnonzero(~(self._terminated | self._truncated))
        actions = self._checked_actions(actions, running)
        before, clipped, task = states[running], actions[running].clip(-1, 1), tasks[running]
        after = self.family.transition(before, clipped, task)
        terms = self.family.reward_terms(before, clipped, after, task)

        states[running] = after
        self._states = states
        self._elapsed[running] += 1
        diverged = self.family.diverged(states)
        self._terminated[running] = self.family.terminated(after, task) | diverged[running]
        self._truncated = (self._elapsed >= self.family.horizon) & ~self._terminated
        rewards = np.zeros(self.num_envs)
        rewards[running] = sum(terms.values())
        info: dict[str, Any] = {"achieved": self.family.achieved(states, tasks), "diverged": diverged}
        for name, values in terms.items():
            info[f"reward/{name}"] = np.zeros(self.num_envs)
            info[f"reward/{name}"][running] = values
        return self._observe(), rewards, self._terminated.copy(), self._truncated.copy(), info

    def _observe(self) -> Array:
        observations = self.family.observe(self.states, self._tasks)
        return np.concatenate([observations, self._tasks], 1) if self.task_in_observation else observations

    def _observation_space(self) -> Box:
        space, task = self.family.observation_space, self.family.task_space
        if not self.task_in_observation:
            return space
        return Box(np.concatenate([space.low, task.low]), np.concatenate([space.high, task.high]), dtype=np.float64)

    def _checked_seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, (int, np.integer)):
            return [int(seed) + i for i in range(self.num_envs)]
        seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"need one seed for each of {self.num_envs} environments; got {len(seeds)}")
        return seeds

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

    def _checked_mask(self, mask: ArrayLike | None) -> Mask:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        array = np.asarray(mask)
        if array.shape != (self.num_envs,) or array.dtype != np.bool_:
            raise ValueError(f"reset_mask must be {self.num_envs} booleans; got {array.dtype} {array.shape}")
        return array

    def _checked_actions(self, actions: ArrayLike, running: NDArray[np.intp]) -> Array:
        array, expected = np.asarray(actions, dtype=np.float64), self.action_space.shape
        if array.shape != expected:
            raise ValueError(f"actions must have shape {expected}; got {array.shape}")
        finite = np.isfinite(array[running]).all(1)
        if not finite.all():
            i = running[~finite][0]
            raise ValueError(f"actions must be finite; environment {i} got {array[i]}")
        return array
