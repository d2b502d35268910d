"""Users' vector environments as parts: a class that honours `reset(options={"tasks": rows})`, as MODULE:NAME."""

import functools
import inspect
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from gymnasium import Space
from gymnasium.vector import VectorEnv

from metarl.arrays import Array, Mask
from metarl.envs.adapters.gymnasium_part import in_python, misspelt
from metarl.envs.opengl import prepare
from metarl.rl.bounds import remarks_on_bounds
from metarl.rl.contract import checked_sample, of_wrapped, require_vector
from metarl.rl.drawing_tasks import draw_tasks
from metarl.rl.environments import ENVIRONMENTS, Environment, TaskDistribution
from metarl.tasks import Split, task_names_of


class VectorTasks(TaskDistribution):
    """The distribution of a vector environment's `sample_tasks`. Its range is not known: all finite rows are in it.

    Each draw makes an environment and closes it. All splits draw from the same tasks, unless `sample_tasks` has a
    parameter `split`.
    """

    def __init__(self, names: tuple[str, ...], part: "VectorEnvironment") -> None:
        self.names = names
        self._part = part

    def sample(self, rng: np.random.Generator, n: int, split: Split = "train") -> Array:
        """Draw n rows, [n, k]."""
        with closing(self._part.build(1, horizon=1)) as env:
            return draw_tasks(of_wrapped(env, "sample_tasks"), rng, n, split)

    def in_distribution(self, tasks: Array) -> Mask:
        """Which rows are finite, [n]."""
        return self.valid(tasks)


@dataclass(frozen=True, kw_only=True)
class VectorEnvironment(Environment):
    """A user's vector environment without auto-reset, whose constructor takes `num_envs`.

    The constructor is also given `horizon`, `render_mode` and `task_in_observation` if it has parameters of these
    names.
    """

    environment_options: dict[str, bool | int | float | str | None] = field(default_factory=dict)
    """Keyword arguments of the environment; texts are read as Python values where they are such."""

    maker: ClassVar[type[VectorEnv]]

    def build(
        self, num_envs: int, *, horizon: int, render_mode: str | None = None, task_in_observation: bool = False
    ) -> VectorEnv:
        """Make n environments.

        Raises:
            ValueError: the constructor lacks a parameter that it needs, or has no such option.
        """
        kind: Any = type(self).maker
        known = inspect.signature(kind).parameters
        arguments: dict[str, Any] = {name: in_python(value) for name, value in self.environment_options.items()}
        for name in (*arguments, "num_envs"):
            takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values())
            if name not in known and not takes_any:
                raise ValueError(
                    f"environment {kind.__qualname__} has no parameter {name!r}: it has {', '.join(known) or 'none'}"
                )
        if render_mode is not None:
            prepare()
        asked = {"render_mode": render_mode, "task_in_observation": task_in_observation}
        for name, value in asked.items():
            if name in known:
                arguments[name] = value
            elif value:
                raise ValueError(
                    f"environment {kind.__qualname__} cannot be made with {name} {value!r}: add a parameter"
                )
        if "horizon" in known:
            arguments["horizon"] = horizon
        env = kind(num_envs=num_envs, **arguments)
        require_vector(env)
        if env.num_envs != num_envs:
            raise ValueError(f"environment {kind.__qualname__} must have num_envs {num_envs}; it has {env.num_envs}")
        return env

    def remarks(self, horizon: int) -> list[str]:
        """Also on options that look like what they are not, and on actions outside their bounds.

        Raises:
            ValueError: also for `task_names` that are none.
        """
        remarks = misspelt(self.environment_options) + super().remarks(horizon)
        _ = self.tasks
        with closing(self.build(1, horizon=horizon)) as env:
            return remarks + remarks_on_bounds(env)

    @functools.cached_property
    def tasks(self) -> VectorTasks:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The environment's own distribution."""
        with closing(self.build(1, horizon=1)) as env:
            size = checked_sample(of_wrapped(env, "sample_tasks"), env, 2).shape[1]
            return VectorTasks(task_names_of(env, of_wrapped(env, "task_names"), size), self)

    def spaces(self, *, task_in_observation: bool = False) -> tuple[Space, Space]:
        """The spaces of one environment's observations and actions."""
        with closing(self.build(1, horizon=1, task_in_observation=task_in_observation)) as env:
            return env.single_observation_space, env.single_action_space


@ENVIRONMENTS.adopter
def adopted(thing: Any) -> type[VectorEnvironment] | None:
    """Make a part of a class of vector environments; None of other objects."""
    if not (isinstance(thing, type) and issubclass(thing, VectorEnv)):
        return None
    namespace = {"maker": thing, "__module__": __name__, "__doc__": thing.__doc__}
    return type(thing.__name__, (VectorEnvironment,), namespace)
