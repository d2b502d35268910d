"""Task families: processes that are parts, which a run chooses by id and Gymnasium makes by the same id."""

import dataclasses
from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar, cast

import gymnasium
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv

from metarl.arrays import require_tensors
from metarl.envs.autoreset import AutoReset
from metarl.envs.batched import TaskVectorEnv, with_task
from metarl.envs.process import TaskProcess
from metarl.parts import options
from metarl.rl.environments import ENVIRONMENTS, Environment


class TaskFamily(TaskProcess, Environment, ABC):
    """Base of families: subclasses are frozen dataclasses whose fields are the options."""

    # Whether `transition` takes tensors as it takes NumPy's arrays, as all other formulas do.
    takes_tensors: ClassVar[bool] = False

    def build(
        self, num_envs: int, *, horizon: int, render_mode: str | None = None, task_in_observation: bool = False
    ) -> TaskVectorEnv:
        """Make n environments, stepped as one batch."""
        return TaskVectorEnv(
            self.placed(self.device),
            num_envs,
            horizon=horizon,
            render_mode=render_mode,
            task_in_observation=task_in_observation,
        )

    def on(self, device: str) -> Self:
        """The same family; one that takes tensors has its states on the run's device, where that is not the CPU."""
        return self.placed(device) if self.takes_tensors and device != "cpu" else self

    def placed(self, device: str | None) -> Self:
        """A copy whose states are tensors on a torch device, which may be the CPU; None: NumPy's arrays."""
        # The copy does not have the cached simulator, so that every batch has its own.
        copy = dataclasses.replace(cast(Any, self))
        # The device is no option: a run has one for all its parts.
        object.__setattr__(copy, "device", device)
        return copy

    def remarks(self, horizon: int) -> list[str]:
        """No remarks: TaskVectorEnv keeps the contract of vector environments; `check_family` checks the family."""
        return []

    def spaces(self, *, task_in_observation: bool = False) -> tuple[Box, Box]:
        """The spaces of one environment's observations and actions."""
        space = self.observation_space
        if task_in_observation:
            space = with_task(space, len(self.tasks.names))
        return space, self.action_space


Family = TypeVar("Family", bound=TaskFamily)


def register(environment_id: str) -> Callable[[type[Family]], type[Family]]:
    """Class decorator: offer a family under an id, as a part and to `gymnasium.make` and `gymnasium.make_vec`.

    Args:
        environment_id: such as `metarl/Navigation2D-v0`.
    """

    def decorate(family: type[Family]) -> type[Family]:
        ENVIRONMENTS.register(environment_id)(family)
        gymnasium.register(
            environment_id,
            entry_point="metarl.envs.single:make_single",
            vector_entry_point="metarl.envs.family:make_vector",
            kwargs={"family": environment_id},
        )
        return family

    return decorate


def make_family(environment_id: str, **values: object) -> TaskFamily:
    """Make the family that is registered under an id, with values of its options.

    Raises:
        ValueError: the id or an option is unknown, or a value impossible.
    """
    family = ENVIRONMENTS.find(environment_id)
    is_family = issubclass(family, TaskFamily)
    if not is_family:
        raise ValueError(f"{environment_id} is no family of tasks: gymnasium.make makes such an environment")
    known = [option.name for option in options(family)]
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"{environment_id} has no option {unknown[0]!r}: it has {', '.join(known) or 'none'}")
    return cast(TaskFamily, family(**values))


def make_vector(
    family: str,
    num_envs: int = 1,
    *,
    horizon: int | None = None,
    render_mode: str | None = None,
    task_in_observation: bool = False,
    device: str = "cpu",
    autoreset_mode: AutoresetMode | str = AutoresetMode.DISABLED,
    **values: object,
) -> VectorEnv:
    """Make a TaskVectorEnv for `gymnasium.make_vec`.

    Args:
        family: the id.
        num_envs: see TaskVectorEnv.
        horizon: see TaskVectorEnv.
        render_mode: see TaskVectorEnv; environments that draw themselves stay on the host.
        task_in_observation: see TaskVectorEnv.
        device: the torch device that the environments are for; see `TaskFamily.on`.
        autoreset_mode: one of Gymnasium's; by default ended environments stay as they are until they are reset.
        values: options of the family.
    """
    made = make_family(family, **values)
    require_tensors(device)
    if render_mode is None:
        made = made.on(device)
    env = TaskVectorEnv(
        made, num_envs, horizon=horizon, render_mode=render_mode, task_in_observation=task_in_observation
    )
    modes = {mode.value: mode for mode in AutoresetMode}
    if autoreset_mode not in (*modes, *modes.values()):
        raise ValueError(f"autoreset_mode must be one of {', '.join(modes)}; got {autoreset_mode!r}")
    mode = AutoresetMode(autoreset_mode)
    return env if mode is AutoresetMode.DISABLED else AutoReset(env, mode)
