"""The walker: a planar robot of a torso and two legs with six motors, which can fall.

| action | name | unit |
| --- | --- | --- |
| 0, 1, 2 | right thigh, leg, foot | share of the motor's torque, 100 N m |
| 3, 4, 5 | left thigh, leg, foot | share of the motor's torque, 100 N m |

| observation | name | unit |
| --- | --- | --- |
| 0 | height of the torso | m |
| 1 .. 7 | angles: torso's pitch, then the joints in the order of the motors | rad |
| 8, 9 | velocity of the torso in x, z, clipped to [-10, 10] | m/s |
| 10 .. 16 | angular velocities, in the order of the angles, clipped to [-10, 10] | rad/s |

`observation="compact"`: the same, with the velocities times 0.2 and not clipped.

Reward: the goal's term (goals.py) + 1 - 0.001 sum(a^2), a clipped to [-1, 1]; the velocity family has a further bonus
of 14 per timestep. An episode terminates where the torso's height leaves (0.8, 2) m or its pitch (-1, 1) rad.

| | `dynamics="gymnasium"`: Walker2d-v5's | `dynamics="paper"`: the code of Rothfuss et al. 2019 ("ProMP") |
| --- | --- | --- |
| model | walker2d_v5.xml | walker2d.xml, of earlier versions: the right foot's friction is 0.9, not 1.9 |
| timestep | 4 MuJoCo steps (RK4) of 0.002 s | 8 of them; with random parameters 5, as in rand_param_envs |
| the bonus of 1 | not in the timestep in which the walker falls | always |

Velocity v: displacement of the torso per timestep. Noise at reset: positions and velocities uniform in [-0.005, 0.005].
Deviations: the direction and velocity families are ProMP's, the random parameters rand_param_envs'; Walker2d-v5 has
neither. The paper used MuJoCo 1.5, which had other contacts.
"""

import dataclasses
import functools
from dataclasses import dataclass

from metarl.arrays import Array, Mask
from metarl.envs.family import register
from metarl.envs.goals import Direction, Forward, Velocity
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

BODIES = ("torso", "thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left")
JOINTS = tuple(f"{part}_joint" for part in BODIES[1:])
GEOMS = ("floor", *(f"{body}_geom" for body in BODIES))
HEIGHTS = (0.8, 2.0)  # metres: outside, the walker has fallen
PITCH = 1.0  # radians: beyond, it has fallen


def _fallen(physics: Physics, states: Array) -> Mask:
    height = physics.of(states, "qpos")[:, 1]
    pitch = physics.of(states, "qpos")[:, 2]
    return (height <= HEIGHTS[0]) | (height >= HEIGHTS[1]) | (abs(pitch) >= PITCH)


GYMNASIUM = Robot(
    xml="walker2d_v5.xml",
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
PAPER = dataclasses.replace(GYMNASIUM, xml="walker2d.xml", frame_skip=8, costs=costs_of_walking)
RAND_PARAM_ENVS = dataclasses.replace(PAPER, frame_skip=5)


@dataclass(frozen=True, kw_only=True)
class Walker2D(Locomotion):
    """Base of the walker's families."""

    robots = {"gymnasium": GYMNASIUM, "paper": PAPER}


@register("metarl/Walker2DVel-v0")
@dataclass(frozen=True, kw_only=True)
class Walker2DVel(Walker2D):
    """The walker shall run forward at a velocity drawn uniform in [0, 10] m/s."""

    goal = Velocity(10.0, bonus=14.0)


@register("metarl/Walker2DDir-v0")
@dataclass(frozen=True, kw_only=True)
class Walker2DDir(Walker2D):
    """The walker shall run forward or backward."""

    goal = Direction()


@register("metarl/Walker2DParams-v0")
@dataclass(frozen=True, kw_only=True)
class Walker2DParams(Walker2D):
    """The walker shall run forward, with masses, inertias, damping and friction of its own (see `Factors`)."""

    robots = {"gymnasium": GYMNASIUM, "paper": RAND_PARAM_ENVS}
    goal = Forward()
    variation = Factors(BODIES, JOINTS, GEOMS)
