"""What a vector environment returns from `reset` and `step`, checked, and made arrays of known shapes.

Axes: n environments, O observation.
"""

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from metarl.arrays import Mask, is_tensor, namespace, on_device
from metarl.numeric import numeric, shown
from metarl.rl.spaces import NOT_OF_THE_SPACE, flat_observations, observation_size
from metarl.rl.step_results import begun, stepped

TERM = "reward/"  # prefix of the names of reward terms in an environment's `info`
READ = ("achieved", "success", "diverged")  # entries of `info` that are read, beside those whose names begin with TERM


class Step(NamedTuple):
    """The results of one timestep."""

    observations: NDArray[Any]  # [n, O]
    rewards: NDArray[Any]  # [n]
    ended: Mask  # terminated or truncated, [n]
    info: dict[str, NDArray[Any]]  # what is read of the environment's, by name, each [n]
    whole_info: dict[Any, Any]  # as the environment returns it


class VectorResults:
    """Plays a vector environment, and checks what it returns.

    An environment with an attribute `tensor_device`, a torch device, takes and returns tensors there. Their values are
    not looked at, which would wait for the device. What it returns on the host is checked, and moved there.

    Args:
        env: n environments.

    Raises:
        ValueError: observations of a space that has no flat vectors of fixed length; an environment with a device whose
            observations and actions are not vectors.
    """

    def __init__(self, env: VectorEnv) -> None:
        self._env = env
        self._flat = flat_observations(env.single_observation_space)
        self._shape = (env.num_envs, observation_size(env.single_observation_space))
        self.device: Any = getattr(env.unwrapped, "tensor_device", None)
        for space in (env.single_observation_space, env.single_action_space):
            if self.device is not None and not (isinstance(space, Box) and len(space.shape) == 1):
                raise ValueError(f"{env} is on a device: observations and actions must be vectors (Box); got {space}")

    def reset(self, seeds: list[int], options: dict[str, Any]) -> NDArray[Any]:
        """Start episodes; the observations [n, O].

        Raises:
            ValueError: `reset` does not take seeds and options, or does not return (observations, info).
        """
        seen, _ = begun(self._env, seed=seeds, options=options, seen="observations")
        return self._observations(seen)

    def step(self, actions: NDArray[Any]) -> Step:
        """Make one timestep.

        Raises:
            ValueError: `step` does not return the five results of a step, each for n environments.
        """
        seen, rewards, terminated, truncated, info = stepped(self._env, actions, names="observations, rewards")
        said = {
            name: self._numbers(f"info[{name!r}]", value, broadcast=True)
            for name, value in info.items()
            if isinstance(name, str) and (name in READ or name.startswith(TERM))
        }
        # Gymnasium's own vector environments say 0 for environments that say nothing, and who has said something.
        if "achieved" in said and "_achieved" in info:
            who = self._truths("info['_achieved']", info["_achieved"])
            said["achieved"] = namespace(who).where(who, said["achieved"], np.nan)
        return Step(
            self._observations(seen),
            self._numbers("rewards", rewards),
            self._truths("terminated", terminated) | self._truths("truncated", truncated),
            said,
            info,
        )

    def _of_device(self, value: Any, shape: tuple[int, ...]) -> bool:
        """Whether a value is a tensor of this shape, of an environment that returns tensors."""
        return self.device is not None and is_tensor(value) and tuple(value.shape) == shape

    def _observations(self, seen: Any) -> NDArray[Any]:
        if self._of_device(seen, self._shape):
            return seen
        why = "no numbers"
        try:
            flat = numeric(self._flat(seen))
        except NOT_OF_THE_SPACE as error:
            flat = None
            why = str(error)
        if flat is not None and flat.shape == self._shape:
            return on_device(flat, self.device)
        if flat is not None:
            why = f"{flat.shape} in place of {self._shape}"
        right = f"{self._shape[0]} of {self._env.single_observation_space}"
        raise ValueError(f"{self._env}: observations must be {right}; got {shown(seen)} ({why})")

    def _numbers(self, what: str, values: Any, *, broadcast: bool = False) -> NDArray[Any]:
        """Values as an array [n]; `broadcast`: a single number stands for n of them."""
        n = self._shape[0]
        if self._of_device(values, (n,)):
            return values
        array = numeric(values)
        if array is None or not (array.shape == (n,) or (broadcast and array.shape == ())):
            raise ValueError(f"{self._env}: {what} must be {n} numbers, one for each environment; got {shown(values)}")
        return on_device(array if array.shape else np.full(n, array), self.device)

    def _truths(self, what: str, values: Any) -> Mask:
        n = self._shape[0]
        if self._of_device(values, (n,)):
            return values != 0
        array = numeric(values)
        if array is None or array.shape != (n,) or not (array.dtype == np.bool_ or np.isin(array, (0, 1)).all()):
            raise ValueError(f"{self._env}: {what} must be {n} truth values; got {shown(values)}")
        return on_device(array.astype(np.bool_), self.device)
