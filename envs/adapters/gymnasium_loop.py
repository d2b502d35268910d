"""Anybody's Gymnasium environment, `num_envs` times in a loop, and the part that a run chooses it by."""

import ast
import functools
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from metarl.envs.arguments import check_first, checked_actions, checked_mask, checked_options, checked_seeds
from metarl.envs.arrays import Array, Mask
from metarl.envs.batched import with_task
from metarl.rl.environments import ENVIRONMENTS, Environment, Split, TaskDistribution

TRUTHS = ("diverged", "success")  # of `info`: truth values that are passed on


class LoopVectorEnv(VectorEnv[Array, Array, NDArray[Any]]):
    """Anybody's single environment, `num_envs` times in a loop, behind the contract of TaskVectorEnv.

    The environment's `reset` takes `options={"task": row [k]}`, and it, or what it wraps, has
    `sample_tasks(rng, n) -> [n, k]`. Actions are rescaled from [-1, 1] to its bounds and clipped there, so that every
    policy acts in [-1, 1]. Of its `info`, the numbers `achieved` and `reward/<term>` and the truth values
    `diverged` and `success` are passed on.

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
        try:
            self._task_size = _task_size(first)
        except BaseException:
            first.close()
            raise
        space, actions = cast(Box, first.observation_space), cast(Box, first.action_space)
        self.task_in_observation = task_in_observation
        rest = [make_env() for _ in range(num_envs - 1)]
        self._envs, self._bounds = [first, *rest], actions
        self.num_envs, self.render_mode = num_envs, first.render_mode
        self.metadata = type(self).metadata | {"render_fps": first.metadata.get("render_fps") or 25}
        named = first.has_wrapper_attr("task_names")
        numbered = tuple(f"task_{i}" for i in range(self._task_size))
        self.task_names: tuple[str, ...] = tuple(first.get_wrapper_attr("task_names")) if named else numbered
        self.single_observation_space = with_task(space, self._task_size) if task_in_observation else space
        self.single_action_space = Box(-1.0, 1.0, actions.shape, np.float64)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs = [np.random.default_rng() for _ in range(num_envs)]
        self._tasks: Array | None = None  # until the first reset
        self._observations = np.zeros((num_envs, *space.shape))
        self._terminated, self._truncated = np.zeros((2, num_envs), dtype=np.bool_)
        self._info: dict[str, NDArray[Any]] = {"achieved": np.full(num_envs, np.nan)}

    @property
    def tasks(self) -> Array:
        """The current tasks [n, k]. Raises ValueError before the first reset."""
        if self._tasks is None:
            raise ValueError("no episode has started: call reset first")
        return self._tasks.copy()

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """Draw n tasks of the environment's own distribution, [n, k]."""
        return np.asarray(self._envs[0].get_wrapper_attr("sample_tasks")(rng, n), np.float64)

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
            self._note(i, info)
        self._tasks = tasks
        self._terminated[mask] = self._truncated[mask] = False
        return self._observe(), self._noted()

    def step(self, actions: ArrayLike) -> tuple[Array, Array, Mask, Mask, dict[str, Any]]:
        """One timestep of every running environment; see TaskVectorEnv.step."""
        if self._tasks is None:
            raise ValueError("no episode has started: call reset first")
        running = ~(self._terminated | self._truncated)
        clipped = checked_actions(actions, self.action_space.shape, running).clip(-1, 1)
        rewards, low, high = np.zeros(self.num_envs), self._bounds.low, self._bounds.high
        for name, values in self._info.items():
            if name.startswith("reward/"):
                values[:] = 0.0  # also of those that are frozen
        for i in np.flatnonzero(running):
            action = (low + (clipped[i] + 1) / 2 * (high - low)).astype(self._bounds.dtype).clip(low, high)
            step = self._envs[i].step(action)
            self._observations[i], rewards[i], self._terminated[i], self._truncated[i], info = step
            self._note(i, info)
        return self._observe(), rewards, self._terminated.copy(), self._truncated.copy(), self._noted()

    def _note(self, i: int | np.intp, info: dict[str, Any]) -> None:
        """Keep what environment i says; what it does not say is nan, or false."""
        self._info["achieved"][i] = info.get("achieved", np.nan)
        for name in TRUTHS:
            if name in info or name in self._info:
                self._info.setdefault(name, np.zeros(self.num_envs, np.bool_))[i] = info.get(name, False)
        for name, value in info.items():
            if name.startswith("reward/"):
                self._info.setdefault(name, np.zeros(self.num_envs))[i] = value

    def _noted(self) -> dict[str, Any]:
        return {"diverged": np.zeros(self.num_envs, np.bool_)} | {
            name: values.copy() for name, values in self._info.items()
        }

    def _observe(self) -> Array:
        assert self._tasks is not None  # reset has been called
        return np.concatenate([self._observations, *[self._tasks] * self.task_in_observation], 1)

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
    """k of the tasks that an environment samples. Raises ValueError if it cannot be meta-trained."""
    space, actions = env.observation_space, env.action_space
    refused = f"{env} cannot be meta-trained: "
    if not env.has_wrapper_attr("sample_tasks"):
        raise ValueError(f"{refused}it has no method sample_tasks(rng, n) -> tasks [n, k]")
    if not (isinstance(space, Box) and len(space.shape) == 1):
        raise ValueError(f"{refused}observations must be a vector (Box); got {space}")
    if not (isinstance(actions, Box) and len(actions.shape) == 1 and actions.is_bounded()):
        raise ValueError(f"{refused}its actions must be a bounded vector (Box); got {actions}")
    rows = np.asarray(env.get_wrapper_attr("sample_tasks")(np.random.default_rng(0), 2))
    if rows.ndim != 2 or len(rows) != 2:
        raise ValueError(f"{refused}sample_tasks(rng, 2) must be [2, k]; got {rows.shape}")
    return rows.shape[1]


class OwnTasks(TaskDistribution):
    """The distribution that an environment brings in its method `sample_tasks`.

    Each draw makes one environment and closes it. What its tasks may be, and where its distribution ends, the
    environment alone knows: all finite rows count as valid and as in the distribution, and all splits are one.
    """

    def __init__(self, names: tuple[str, ...], make: Callable[[], LoopVectorEnv]) -> None:
        self.names, self._make = names, make

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n rows, [n, k]."""
        with closing(self._make()) as env:
            return env.sample_tasks(rng, n)

    def in_distribution(self, tasks: Array) -> Mask:
        """All that are finite, [n]."""
        return self.valid(tasks)


@dataclass(frozen=True, kw_only=True)
class GymnasiumEnvironment(Environment):
    """Anybody's registered environment that takes tasks (see LoopVectorEnv), `num_envs` times in a loop.

    Its own time limit ends episodes, too. Each registered id has a subclass of its own: see `registered`.
    """

    environment_options: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    """Keyword arguments of the environment. What a text says in Python counts: False, None, 0.5, [1, 2]; another text
    stays text."""

    environment_id: ClassVar[str]

    def __reduce__(self) -> tuple[Any, ...]:
        """The subclass of an id is made anew where the part is unpickled."""
        return _rebuild, (self.environment_id, self.environment_options)

    def build(
        self, num_envs: int, *, horizon: int, render_mode: str | None = None, task_in_observation: bool = False
    ) -> LoopVectorEnv:
        """Make them; horizons are the sampler's."""
        arguments = {name: _in_python(value) for name, value in self.environment_options.items()}
        if render_mode is not None:  # an environment whose constructor does not take it need not draw
            arguments["render_mode"] = render_mode
        make_one = functools.partial(gymnasium.make, self.environment_id, **arguments)
        try:
            return LoopVectorEnv(make_one, num_envs, task_in_observation=task_in_observation)
        except gymnasium.error.Error as error:
            raise ValueError(f"environment {self.environment_id!r}: {error}") from error
        except TypeError as error:
            for name in arguments:
                if f"unexpected keyword argument '{name}'" in str(error):
                    raise ValueError(f"environment {self.environment_id!r} has no option {name!r}: {error}") from error
            raise  # a mistake in the environment itself

    @functools.cached_property
    def tasks(self) -> OwnTasks:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The environment's own distribution."""
        with closing(self.build(1, horizon=1)) as env:
            return OwnTasks(env.task_names, functools.partial(self.build, 1, horizon=1))

    def spaces(self, *, task_in_observation: bool = False) -> tuple[Box, Box]:
        """The spaces of one environment's observations and actions, which are rescaled to [-1, 1]."""
        with closing(self.build(1, horizon=1, task_in_observation=task_in_observation)) as env:
            return cast(Box, env.single_observation_space), cast(Box, env.single_action_space)


@functools.cache
def registered(environment_id: str) -> type[GymnasiumEnvironment] | None:
    """The part of an environment that Gymnasium knows by this id; None: it knows no such."""
    try:
        spec = gymnasium.spec(environment_id)
    except gymnasium.error.Error:
        return None
    return type(spec.id, (GymnasiumEnvironment,), {"environment_id": environment_id, "__module__": __name__})


ENVIRONMENTS.finder(registered)


def _rebuild(environment_id: str, environment_options: dict[str, Any]) -> GymnasiumEnvironment:
    kind = registered(environment_id)
    if kind is None:
        raise ValueError(f"unknown environment {environment_id!r}: import the module that registers it")
    return kind(environment_options=environment_options)


def _in_python(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):  # no value in Python: text
        return value
