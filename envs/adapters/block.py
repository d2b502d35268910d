"""A contiguous block of single environments, which are stepped one after another and write to arrays.

Axes: n environments of the block, O observation, k task.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.arrays import Array, Mask
from metarl.envs.adapters.conversion import flat_observation
from metarl.envs.opengl import of_opengl, opengl_fails, prepare
from metarl.numeric import numeric, shown
from metarl.rl.spaces import NOT_OF_THE_SPACE
from metarl.rl.step_results import begun, stepped
from metarl.rl.vector_results import TERM

TRUTHS = ("diverged", "success")  # truth values of `info` that are passed on
Notes = dict[str, NDArray[Any]]  # what the environments' `info` says, by name, each [n]


class ContractError(ValueError):
    """An environment broke a rule, or needs what is not here; the message says what would be right."""


class Slots(NamedTuple):
    """The arrays that n environments read and write, one row for each environment."""

    tasks: Array  # [n, k], read
    actions: NDArray[Any]  # [n, ...], read, in the environments' own units
    observations: Array  # [n, O], flattened
    rewards: Array  # [n]
    terminated: Mask  # [n]
    truncated: Mask  # [n]

    def rows(self, begin: int, end: int) -> "Slots":
        """Views of the rows of some environments."""
        arrays: list[Any] = [array[begin:end] for array in self]
        return Slots(*arrays)


class EnvironmentGroup(Protocol):
    """What steps the environments: one block in this process, or one block in each of several processes."""

    def reset(self, which: Sequence[int], seeds: Sequence[int | None]) -> Notes:
        """Start an episode of some environments, each with its task, and with its seed unless that is None."""
        ...

    def step(self, which: Sequence[int]) -> Notes:
        """Make one timestep of some environments."""
        ...

    def render(self) -> list[Any]:
        """The picture that each environment draws."""
        ...

    def close(self) -> None:
        """Close all environments."""
        ...


class Block:
    """Environments in this process.

    Args:
        envs: n environments.
        slots: the arrays that the n environments read and write.
    """

    def __init__(self, envs: Sequence[gymnasium.Env], slots: Slots) -> None:
        self.envs = envs
        self._slots = slots
        self._notes: Notes = {"achieved": np.full(len(envs), np.nan)}

    def reset(self, which: Sequence[int], seeds: Sequence[int | None]) -> Notes:
        """Start episodes; see `EnvironmentGroup.reset`.

        Raises:
            ContractError: an environment returns something else than (observation, info).
        """
        for i, seed in zip(which, seeds, strict=True):
            env = self.envs[i]
            options = {"task": self._slots.tasks[i].copy()}
            seen, info = begun(env, seed=seed, options=options, seen="observation", refusal=ContractError)
            self._see(i, seen)
            self._note(i, info)
        return self._notes

    def step(self, which: Sequence[int]) -> Notes:
        """Step; see `EnvironmentGroup.step`. Raises ContractError for anything but the five results of a step."""
        # Environments that are frozen have no reward.
        for name, values in self._notes.items():
            if name.startswith(TERM):
                values[:] = 0.0
        slots = self._slots
        for i in which:
            # An action of the shape () is an array where it is a real number, and a whole number where it is a choice.
            real = isinstance(self.envs[i].action_space, Box)
            action = np.array(slots.actions[i]) if real else slots.actions[i].copy()
            seen, reward, terminated, truncated, info = stepped(
                self.envs[i], action, names="observation, reward", refusal=ContractError
            )
            self._see(i, seen)
            slots.rewards[i] = self._number(i, "its reward", reward)
            slots.terminated[i] = self._truth(i, "terminated", terminated)
            slots.truncated[i] = self._truth(i, "truncated", truncated)
            self._note(i, info)
        return self._notes

    def render(self) -> list[Any]:
        """The picture that each environment draws. Raises ContractError if a library for that is missing here."""
        prepare()
        try:
            return [env.render() for env in self.envs]
        except NotImplementedError as error:
            raise ContractError(f"{self.envs[0]} does not draw itself: it has no method render of its own") from error
        except gymnasium.error.DependencyNotInstalled as error:
            raise ContractError(f"{self.envs[0]} cannot draw itself here: {error}") from error
        except Exception as error:  # OpenGL's libraries raise any class; what is not theirs is raised again
            if of_opengl(error):
                raise ContractError(f"{self.envs[0]}: {opengl_fails(error)}") from error
            raise

    def close(self) -> None:
        """Close all environments, also if one of them raises an error, which is raised at the end."""
        with contextlib.ExitStack() as stack:
            for env in reversed(self.envs):
                stack.callback(env.close)

    def _see(self, i: int, observation: Any) -> None:
        """Write the observation of environment i."""
        space = self.envs[i].observation_space
        row = self._slots.observations[i]
        try:
            seen = flat_observation(space, observation)
        except NOT_OF_THE_SPACE as error:
            words = f"observations must be of {space}; got {shown(observation)} ({error})"
            raise ContractError(f"{self.envs[i]}: {words}") from error
        if seen.shape != row.shape:
            raise ContractError(f"{self.envs[i]}: observations must be of {space}; got {shown(observation)}")
        row[:] = seen

    def _note(self, i: int, info: dict[str, Any]) -> None:
        """Write what the info of environment i says; entries that it lacks are nan, or false."""
        notes = self._notes
        n = len(self.envs)
        notes["achieved"][i] = self._number(i, "info['achieved']", info.get("achieved", np.nan))
        for name in TRUTHS:
            if name in info or name in notes:
                truth = self._truth(i, f"info[{name!r}]", info.get(name, False))
                notes.setdefault(name, np.zeros(n, np.bool_))[i] = truth
        for name, value in info.items():
            if isinstance(name, str) and name.startswith(TERM):
                notes.setdefault(name, np.zeros(n))[i] = self._number(i, f"info[{name!r}]", value)

    def _number(self, i: int, what: str, value: Any) -> float:
        """A number, which may be an array of one number. Raises ContractError for anything else."""
        if isinstance(value, float):
            return value
        # A whole number of Python that is too large for one of NumPy is none.
        array = numeric(value)
        if array is None or array.size != 1:
            raise ContractError(f"{self.envs[i]}: {what} must be a number; got {shown(value)}")
        return float(array.reshape(()))

    def _truth(self, i: int, what: str, value: Any) -> bool:
        """A truth value, which may be 0 or 1, or an array of one. Raises ContractError for anything else."""
        if value is True or value is False:
            return value
        array = numeric(value)
        if array is None or array.size != 1 or array.reshape(()).item() not in (0, 1):
            raise ContractError(f"{self.envs[i]}: {what} must be True or False; got {shown(value)}")
        return bool(array.reshape(()))


def one_environment(make_env: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """Make an environment. Raises ContractError if what was made is none, or is many."""
    env = make_env()
    if not isinstance(env, gymnasium.Env):
        raise ContractError(f"an environment must be one gymnasium.Env, and no vector environment; got {env!r}")
    return env


def make_environments(
    make_env: Callable[[], gymnasium.Env], count: int, first: Iterable[gymnasium.Env] = ()
) -> list[gymnasium.Env]:
    """Make `count` environments, the `first` of which exist already; all are closed again if one cannot be made.

    Raises:
        ContractError: their actions are not of one space, or one is made twice.
    """
    envs = list(first)
    try:
        while len(envs) < count:
            env = one_environment(make_env)
            if any(env is other for other in envs):
                raise ContractError(f"an environment must be made anew whenever one is asked for; got {env} twice")
            envs.append(env)
            spaces = envs[0].action_space, envs[-1].action_space
            if spaces[0] != spaces[1]:
                raise ContractError(
                    f"{envs[-1]}: all environments must have one space of actions; got {spaces[0]} and {spaces[1]}"
                )
    except BaseException:
        for env in envs:
            env.close()
        raise
    return envs


def joined(parts: Sequence[Notes]) -> Notes:
    """Join the notes of contiguous blocks; an entry that only some blocks have is false or 0 in the others."""
    names = {name: values.dtype for notes in parts for name, values in notes.items()}
    sizes = [len(notes["achieved"]) for notes in parts]
    return {
        name: np.concatenate([notes.get(name, np.zeros(n, kind)) for notes, n in zip(parts, sizes, strict=True)])
        for name, kind in names.items()
    }
