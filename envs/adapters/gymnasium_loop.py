"""Anybody's Gymnasium environment, `num_envs` times, in a loop or in worker processes."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from metarl.arguments import require_built, require_integers, require_truths
from metarl.arrays import Array, Mask
from metarl.envs.adapters.block import Block, EnvironmentGroup, Notes, Slots, make_environments, one_environment
from metarl.envs.adapters.conversion import own_actions, policy_actions, policy_observations
from metarl.envs.adapters.turns import Instances, InTurns
from metarl.envs.adapters.workers import PATIENCE, Workers
from metarl.envs.adapters.wrappers import task_size
from metarl.envs.arguments import (
    check_first,
    checked_actions,
    checked_mask,
    checked_options,
    checked_seeds,
    require_environments,
)
from metarl.envs.batched import with_task
from metarl.rl.contract import require_spaces
from metarl.rl.drawing_tasks import draw_tasks
from metarl.tasks import Split, task_names_of


class LoopVectorEnv(VectorEnv[Array, NDArray[Any], NDArray[Any]]):
    """Anybody's single environment, `num_envs` times, behind the contract of TaskVectorEnv.

    The environment's `reset` takes `options={"task": row [k]}`, and it, or what it wraps, has
    `sample_tasks(rng, n) -> [n, k]`. Observations are flattened to vectors, as Gymnasium flattens them. Real actions
    are rescaled from [-1, 1] to its bounds and clipped there, so that every policy acts in [-1, 1]; discrete ones are
    passed on. Of its `info`, the numbers `achieved` and `reward/<term>` and the truth values `diverged` and `success`
    are passed on.

    Args:
        make_env: makes one environment; for worker processes it is pickled.
        num_envs: n.
        task_in_observation: append the task to the observation (the paper's oracle).
        workers: processes that the environments run in, a contiguous block of them in each; 0: in this process, one
            after another. The numbers are the same.
        worker_timeout: seconds after which a worker that does not answer is an error.
        instances: single environments that may exist at once, or the `Instances` that are shared with others: `reset`
            then starts at most so many (`at_once`) by its `reset_mask`, and cuts what else was running. 0: n.

    Raises:
        ValueError: no environments, or more than there is room for; an environment without `sample_tasks`, whose
            observations cannot be made vectors, or whose actions are neither bounded nor discrete; what cannot be
            pickled.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(
        self,
        make_env: Callable[[], gymnasium.Env],
        num_envs: int = 1,
        *,
        task_in_observation: bool = False,
        workers: int = 0,
        worker_timeout: float = PATIENCE,
        instances: int | Instances = 0,
    ) -> None:
        require_built(make_env=(make_env, Callable))
        require_environments(num_envs)
        require_truths(task_in_observation=task_in_observation)
        require_integers(0, workers=workers)
        if not isinstance(instances, Instances) and instances:
            instances = Instances(instances, workers=workers, patience=worker_timeout)
        shared = instances or None
        first = shared.first(make_env) if shared else one_environment(make_env)
        try:
            require_spaces(first, ("observation_space", "action_space"))
            self._task_size = task_size(first)
            named = first.get_wrapper_attr("task_names") if first.has_wrapper_attr("task_names") else None
            self.task_names = task_names_of(first, named, self._task_size)
            self.own_spaces = first.observation_space, first.action_space
            space = policy_observations(first.observation_space)
            self._actions = first.action_space
            self.single_action_space = policy_actions(first.action_space)
        except BaseException:
            shared.close_unused() if shared else first.close()
            raise
        self.task_in_observation = task_in_observation
        self.num_envs = num_envs
        self.render_mode = first.render_mode
        self.metadata = type(self).metadata | {"render_fps": (first.metadata or {}).get("render_fps") or 25}
        self.single_observation_space = with_task(space, self._task_size) if task_in_observation else space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._started = False
        # It draws the tasks; without workers it is also the first of those that are stepped.
        self._find_one = functools.partial(shared.whichever, make_env) if shared else lambda: first
        self._slots = self._new_slots(space)
        self._notes: Notes = {}
        self._group: EnvironmentGroup
        self.at_once = num_envs  # that can run at the same time
        if shared:
            turns = InTurns(shared, make_env, self._slots)
            self._group = turns
            self.at_once = turns.at_once
        elif workers and num_envs > 1:
            group = Workers(make_env, self._slots, workers=min(workers, num_envs), patience=worker_timeout)
            self._group = group
            self._slots = group.slots
        else:
            self._group = Block(make_environments(make_env, num_envs, [first]), self._slots)

    def _new_slots(self, space: Box) -> Slots:
        n = self.num_envs
        actions = self._actions
        return Slots(
            tasks=np.zeros((n, self._task_size)),
            actions=np.zeros((n, *(actions.shape or ())), actions.dtype),
            observations=np.zeros((n, *space.shape)),
            rewards=np.zeros(n),
            terminated=np.zeros(n, np.bool_),
            truncated=np.zeros(n, np.bool_),
        )

    @property
    def tasks(self) -> Array:
        """The current tasks [n, k]. Raises ValueError before the first reset."""
        self._require_started()
        return self._slots.tasks.copy()

    def _require_started(self) -> None:
        if not self._started:
            raise ValueError("no episode has started: call reset first")

    def one(self) -> gymnasium.Env:
        """One of the single environments, or one that is like them."""
        return self._find_one()

    def sample_tasks(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n tasks of the environment's own distribution, [n, k]; of a split of it, if it has splits."""
        return draw_tasks(self.one().get_wrapper_attr("sample_tasks"), rng, n, split)

    def own_method(self, name: str) -> Callable[..., Any] | None:
        """A method of the environment or of one of its wrappers; None: there is no such."""
        return self.one().get_wrapper_attr(name) if self.one().has_wrapper_attr(name) else None

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Start episodes, as TaskVectorEnv.reset does; what a task may be, the environment knows."""
        options = checked_options(options)
        n = self.num_envs
        mask = checked_mask(options.get("reset_mask"), n)
        seeds = checked_seeds(seed, n)
        shape = (n, self._task_size)
        rows = np.array(options["tasks"], np.float64) if "tasks" in options else None
        if rows is not None and rows.shape != shape:
            raise ValueError(f"tasks must have shape {shape}, one row per environment; got {rows.shape}")
        if rows is not None and not np.isfinite(rows).all():
            raise ValueError(f"tasks must be finite; got {rows[~np.isfinite(rows).all(1)][0]}")
        first = not self._started
        if not isinstance(self._group, InTurns):
            check_first(first, mask)
        which = np.flatnonzero(mask).tolist()
        own = []
        for i in which:
            if seeds[i] is not None:
                self._rngs[i] = np.random.default_rng(seeds[i])
            if rows is not None:
                self._slots.tasks[i] = rows[i]
            elif first or seeds[i] is not None:
                self._slots.tasks[i] = self.sample_tasks(self._rngs[i], 1)[0]
            # Some libraries refuse seeds of more than 31 bits.
            own.append(None if seeds[i] is None else int(self._rngs[i].integers(2**31)))
        self._notes = self._group.reset(which, own)
        self._started = True
        self._slots.terminated[mask] = self._slots.truncated[mask] = False
        return self._observe(), self._noted()

    def step(self, actions: ArrayLike) -> tuple[Array, Array, Mask, Mask, dict[str, Any]]:
        """One timestep of every running environment; see TaskVectorEnv.step."""
        self._require_started()
        slots = self._slots
        running = ~(slots.terminated | slots.truncated)
        if isinstance(self.single_action_space, Box):
            chosen: NDArray[Any] = checked_actions(actions, self.action_space.shape, running)
        elif (chosen := np.asarray(actions)).shape != slots.actions.shape:
            raise ValueError(f"actions must have shape {slots.actions.shape}; got {chosen.shape}")
        slots.actions[running] = own_actions(self._actions, chosen[running])
        slots.rewards[:] = 0.0
        self._notes = self._group.step(np.flatnonzero(running).tolist())
        return self._observe(), slots.rewards.copy(), slots.terminated.copy(), slots.truncated.copy(), self._noted()

    def _noted(self) -> dict[str, Any]:
        return {"diverged": np.zeros(self.num_envs, np.bool_)} | {
            name: values.copy() for name, values in self._notes.items()
        }

    def _observe(self) -> Array:
        slots = self._slots
        return (
            np.concatenate([slots.observations, slots.tasks], 1)
            if self.task_in_observation
            else slots.observations.copy()
        )

    def render(self) -> tuple[Any, ...] | None:
        """What each environment draws; None without a render mode. Raises ValueError if it lacks a library for that."""
        return None if self.render_mode is None else tuple(self._group.render())

    def close_extras(self, **kwargs: Any) -> None:
        """Close them all, and end the worker processes."""
        self._group.close()
        if isinstance(self._group, Workers):
            self.one().close()
