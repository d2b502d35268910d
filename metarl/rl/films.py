"""Films of one episode: played by the sampler, drawn by the environment's own `render`."""

import math
import re
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import VectorEnv, VectorWrapper
from numpy.typing import NDArray
from torch import Tensor

from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.numeric import numeric, shown
from metarl.problem import Film
from metarl.rl.sampler import Key, rollout
from metarl.tasks import numbered_names

FRAMES_PER_SECOND = 25.0  # at most; of an environment with more timesteps a second, some are not drawn


class AtMode(NamedTuple):
    """A distribution that always gives the same actions: the most probable ones of a policy."""

    mode: Tensor  # the actions, [..., A]

    def sample(self, noise: Tensor) -> Tensor:
        """Return the actions [..., A], whatever the noise."""
        return self.mode

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the logarithm of the actions' probability, which is 1: [...]."""
        return torch.zeros_like(actions[..., 0])


def film(
    env: VectorEnv,
    policy: Model,
    params: Params,
    task: NDArray[np.float64],
    *,
    horizon: int,
    key: Key,
    mean_action: bool = False,
) -> Film:
    """Film one episode of a task.

    Args:
        env: one environment that draws itself.
        policy: see `rollout`.
        params: the parameters adapted to the task, stacked: leaves [1, ...].
        task: [k].
        horizon: see `rollout`.
        key: see `rollout`.
        mean_action: act by the policy's mode (a Gaussian's mean), not by a sample.

    Raises:
        ValueError: the environment does not draw itself; see also `rollout`.
    """
    if mean_action:
        sampled = policy
        policy = Model(sampled.init, lambda params, observations: AtMode(sampled.apply(params, observations).mode))
    camera = _Camera(env)
    rollout(camera, policy, params, task[None], horizon=horizon, key=key)
    names = getattr(env.unwrapped, "task_names", None) or numbered_names(len(task))
    title = ", ".join(worded(name, value) for name, value in zip(names, task, strict=True))
    rate = camera.rate / camera.every
    return Film(title, np.stack(camera.frames), camera.captions, rate)


def picture(drawn: Any, whose: str) -> NDArray[np.uint8]:
    """What an environment has drawn as [height, width, 3]; numbers up to 1.0 are scaled, transparent pixels are white.

    It may draw [height, width], or [height, width, 1, 3 or 4].

    Args:
        drawn: what `render` returned.
        whose: the environment, for messages.

    Raises:
        ValueError: it is no picture.
    """
    pixels = numeric(drawn)
    is_picture = pixels is not None and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4)))
    if pixels is None or not is_picture or not pixels.size:
        raise ValueError(f"{whose}: a picture must be an array [height, width, 3]; got {shown(drawn)}")
    if pixels.dtype != np.uint8:
        pixels = np.nan_to_num(pixels)
        if pixels.dtype.kind == "b" or (pixels.dtype.kind == "f" and pixels.max(initial=0.0) <= 1.0):
            pixels = pixels * 255.0
        pixels = np.rint(pixels.clip(0, 255)).astype(np.uint8)
    colours = pixels if pixels.ndim == 3 else pixels[..., None]
    if colours.shape[-1] == 4:
        share = colours[..., 3:] / 255.0
        return np.rint(colours[..., :3] * share + 255.0 * (1 - share)).astype(np.uint8)
    # A copy, because the environment may draw into the same array again.
    return np.array(np.broadcast_to(colours, (*colours.shape[:2], 3)))


def worded(name: str, value: float) -> str:
    """Write a quantity in words: `velocity [m/s]` and 1.5 become `velocity 1.50 m/s`.

    `direction (1 or -1)` and -1.0 become `direction -1`: beside a value, the list of possible values is left out.
    """
    words, _, unit = name.removesuffix("]").partition(" [") if name.endswith("]") else (name, "", "")
    number = f"{value:g}" if float(value).is_integer() and not unit else f"{value:.2f}"
    return f"{re.sub(r' [(].*[)]$', '', words)} {number} {unit}".rstrip()


def _rate(env: VectorEnv) -> float:
    """Timesteps per second of real time. Raises ValueError where an environment says no such number."""
    said = env.metadata.get("render_fps", FRAMES_PER_SECOND)
    try:
        rate = float(said)
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise ValueError(f"{env}: render_fps in its metadata must be a positive number; got {said!r}")
    return rate


class _Camera(VectorWrapper):
    """Draw the first environment at reset, after every few timesteps, and at the end of its episode."""

    def __init__(self, env: VectorEnv) -> None:
        super().__init__(env)
        self.rate = _rate(env)
        self.every = max(1, round(self.rate / FRAMES_PER_SECOND))
        self.frames: list[NDArray[np.uint8]] = []
        self.captions: list[str] = []

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(seed=seed, options=options)
        self._timestep = 0
        self._return = 0.0
        self._draw(result[1])
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        result = self.env.step(actions)
        self._timestep += 1
        self._return += float(result[1][0])
        if self._timestep % self.every == 0 or result[2][0] or result[3][0]:
            self._draw(result[4])
        return result

    def _draw(self, info: dict[str, Any]) -> None:
        pictures = self.env.render()
        if not isinstance(pictures, tuple) or pictures[0] is None:
            raise ValueError(
                f"{self.env} does not draw itself: it needs render_mode rgb_array, which its constructor is given and "
                "must keep as self.render_mode"
            )
        frame = picture(pictures[0], str(self.env))
        if self.frames and frame.shape != self.frames[0].shape:
            sizes = f"{self.frames[0].shape} and {frame.shape}"
            raise ValueError(f"{self.env}: all pictures of an episode must be of one size; got {sizes}")
        self.frames.append(frame)
        words = [f"timestep {self._timestep}", f"return {self._return:.1f}"]
        if "achieved" in info and np.isfinite(achieved := float(np.asarray(info["achieved"])[0])):
            name = getattr(self.env.unwrapped, "achieved_name", "achieved")
            words.append(worded(name, achieved))
        self.captions.append("\n".join(words))
