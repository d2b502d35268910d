"""What a robot is made of: its body, how it is simulated and scored, and the formulas that robots share.

Axes: n environments, S state, A action. The robots themselves are in robots/.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from metarl.arrays import Array, Mask, namespace
from metarl.envs.physics.protocol import Contacts, Physics

if TYPE_CHECKING:
    from metarl.envs.physics.binding import MjModel

# Factor of velocities under `observation="compact"`: joints turn at up to about 10 rad/s, other numbers stay within 1.
VELOCITY_SCALE = 0.2

Noise = Callable[[np.random.Generator, int], Array]  # (rng, size) -> [size]


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A body, and how it is simulated and scored under one kind of dynamics; the functions are batched.

    Actions of -1 and 1 are the bounds of the motors' controls in the file.
    """

    xml: str  # path of an MJCF file; a name without a folder is a file of Gymnasium's
    timestep: float  # seconds per MuJoCo step
    frame_skip: int  # MuJoCo steps per timestep
    contacts: Contacts | None = None  # contacts of every geom; None: those of the file
    measured: Mapping[str, str | None]  # see MujocoThreads
    pose: Callable[["MjModel"], Array]  # -> qpos [nq] at reset, before noise
    position_noise: Noise  # added to the pose at reset
    velocity_noise: Noise  # the velocities at reset
    velocity: Callable[[Physics, Array, Array], Array]  # (physics, states, next_states) -> forward velocity [n], m/s
    position: Callable[[Physics, Array], Array]  # (physics, states) -> x, y [n, 2], m
    observe: Mapping[str, Callable[[Physics, Array], Array]]  # kind -> (physics, states) -> observations [n, O]
    costs: Callable[[Physics, Array, Array], dict[str, Array]]  # (physics, actions, next_states) -> terms, each [n]
    fallen: Callable[[Physics, Array], Mask]  # (physics, states) -> [n]


def uniform_noise(bound: float) -> Noise:
    """Make noise that is uniform in [-bound, bound]."""
    return functools.partial(_uniform, bound)


def normal_noise(deviation: float) -> Noise:
    """Make Gaussian noise of a standard deviation."""
    return functools.partial(_normal, deviation)


def _uniform(bound: float, rng: np.random.Generator, size: int) -> Array:
    return rng.uniform(-bound, bound, size)


def _normal(deviation: float, rng: np.random.Generator, size: int) -> Array:
    return rng.normal(0.0, deviation, size)


def straight(model: "MjModel") -> Array:
    """The pose of the model's file, [nq]."""
    return model.qpos0


def displacement(physics: Physics, states: Array, next_states: Array) -> Array:
    """The forward velocity as the torso's displacement in x divided by the timestep, [n]."""
    moved = physics.of(next_states, "qpos")[:, 0] - physics.of(states, "qpos")[:, 0]
    return moved / physics.seconds_per_step


def centre_of_mass_velocity(physics: Physics, states: Array, next_states: Array) -> Array:
    """The velocity in x of the whole body's centre of mass at the end of the timestep, [n]."""
    return physics.of(next_states, "subtree_linvel")[:, 0]


def torso_position(physics: Physics, states: Array) -> Array:
    """The first two positions of the torso, x and y, or x and z of a planar robot, [n, 2]."""
    return physics.of(states, "qpos")[:, :2]


def centre_of_mass_position(physics: Physics, states: Array) -> Array:
    """The x and y of the whole body's centre of mass, [n, 2]."""
    return physics.of(states, "subtree_com")[:, :2]


def joints(physics: Physics, states: Array, *, first: int, scale: float = 1.0, fastest: float | None = None) -> Array:
    """Observe the positions from qpos[first] on, and all velocities times a scale, [n, nq - first + nv].

    With `fastest`, velocities are clipped to [-fastest, fastest] before they are scaled.
    """
    velocities = physics.of(states, "qvel")
    if fastest is not None:
        velocities = velocities.clip(-fastest, fastest)
    return namespace(states).concat([physics.of(states, "qpos")[:, first:], scale * velocities], axis=1)


def alive(bonus: float, actions: Array, fallen: Mask | None = None) -> Array:
    """A bonus for every timestep, [n]; with `fallen` [n], none for the timestep in which the robot falls."""
    arrays = namespace(actions)
    always = arrays.full_like(actions[:, 0], bonus)
    return always if fallen is None else arrays.where(fallen, 0.0, always)


def control_cost(weight: float, actions: Array) -> Array:
    """The cost of controls, -weight sum(a^2), [n]."""
    return -weight * (actions * actions).sum(axis=1)


def costs_of_walking(
    physics: Physics, actions: Array, next_states: Array, fallen: Callable[[Physics, Array], Mask] | None = None
) -> dict[str, Array]:
    """Reward terms of the planar walkers beside the goal's: 1 for being alive (see `alive`), and the controls' cost."""
    fell = None if fallen is None else fallen(physics, next_states)
    return {"control": control_cost(0.001, actions), "alive": alive(1.0, actions, fell)}
