"""The hopper: a planar robot of a torso and one leg with three motors, which can fall.

| action | name | unit |
| --- | --- | --- |
| 0, 1, 2 | thigh, leg, foot | share of the motor's torque, 200 N m |

| observation | name | unit |
| --- | --- | --- |
| 0 | height of the torso | m |
| 1 .. 4 | angles: torso's pitch, then the joints in the order of the motors | rad |
| 5, 6 | velocity of the torso in x, z, clipped to [-10, 10] | m/s |
| 7 .. 10 | angular velocities, in the order of the angles, clipped to [-10, 10] | rad/s |

`observation="compact"`: the same, with the velocities times 0.2 and not clipped.

Reward: the velocity v (displacement of the torso per timestep) + 1 - 0.001 sum(a^2), a clipped to [-1, 1]. An episode
terminates where the torso's height is at most 0.7 m, its pitch leaves (-0.2, 0.2) rad, or another position or velocity
leaves (-100, 100). A timestep is 4 MuJoCo steps (RK4) of 0.002 s. Noise at reset: positions and velocities uniform in
[-0.005, 0.005].

| | `dynamics="gymnasium"`: Hopper-v5's | `dynamics="paper"`: rand_param_envs' (Rothfuss et al. 2019) |
| --- | --- | --- |
| the bonus of 1 | not in the timestep in which the hopper falls | always |

The model is Gymnasium's hopper.xml. Deviation: the paper used MuJoCo 1.5, which had other contacts.
"""

import dataclasses
import functools
from dataclasses import dataclass

from metarl.arrays import Array, Mask
from metarl.envs.family import register
from metarl.envs.goals import Forward
from metarl.envs.locomotion import Locomotion
from metarl.envs.physics.protocol import Physics
from metarl.envs.robot import (
    VELOCITY_SCALE,
    Robot,
    costs_of_walking,
    displacement,
    joints,
    straight,
    torso_position,
    uniform_noise,
)
from metarl.envs.variations import Factors

BODIES = ("torso", "thigh", "leg", "foot")
JOINTS = tuple(f"{part}_joint" for part in BODIES[1:])
GEOMS = ("floor", *(f"{body}_geom" for body in BODIES))
LOWEST = 0.7  # metres: lower, the hopper has fallen
PITCH = 0.2  # radians: beyond, it has fallen
FASTEST = 100.0  # rad, m/s, rad/s: beyond, it has been thrown


def _fallen(physics: Physics, states: Array) -> Mask:
    positions = physics.of(states, "qpos")
    velocities = physics.of(states, "qvel")
    thrown = (abs(positions[:, 2:]) >= FASTEST).any(axis=1) | (abs(velocities) >= FASTEST).any(axis=1)
    return thrown | (positions[:, 1] <= LOWEST) | (abs(positions[:, 2]) >= PITCH)


GYMNASIUM = Robot(
    xml="hopper.xml",
    timestep=0.002,
    frame_skip=4,
    measured={},
    pose=straight,
    position_noise=uniform_noise(0.005),
    velocity_noise=uniform_noise(0.005),
    velocity=displacement,
    position=torso_position,
    observe={
        "raw": functools.partial(joints, first=1, fastest=10.0),
        "compact": functools.partial(joints, first=1, scale=VELOCITY_SCALE),
    },
    costs=functools.partial(costs_of_walking, fallen=_fallen),
    fallen=_fallen,
)
PAPER = dataclasses.replace(GYMNASIUM, costs=costs_of_walking)


@register("metarl/HopperParams-v0")
@dataclass(frozen=True, kw_only=True)
class HopperParams(Locomotion):
    """The hopper shall run forward, with masses, inertias, damping and friction of its own (see `Factors`)."""

    robots = {"gymnasium": GYMNASIUM, "paper": PAPER}
    goal = Forward()
    variation = Factors(BODIES, JOINTS, GEOMS)
