"""The half-cheetah (Finn et al. 2017, section 5.3): a planar robot of seven bodies and six motors that never falls.

| action | name | unit |
| --- | --- | --- |
| 0, 1, 2 | back thigh, shin, foot | share of the motor's torque: 120, 90, 60 N m |
| 3, 4, 5 | front thigh, shin, foot | share of the motor's torque: 120, 60, 30 N m |

| observation | name | unit |
| --- | --- | --- |
| 0 | height of the torso, above its initial one | m |
| 1 .. 7 | angles: torso's pitch, then the joints in the order of the motors | rad |
| 8, 9 | velocity of the torso in x, z | m/s |
| 10 .. 16 | angular velocities, in the order of the angles | rad/s |
| 17, 18, 19 | `dynamics="paper"` only: centre of mass of the whole body x, y, z | m |

`observation="compact"`, under both kinds of dynamics: 0 .. 16, with the velocities times 0.2.

Reward: the goal's term (goals.py) - 0.05 sum(a^2), a clipped to [-1, 1]. Episodes never terminate.

| | `dynamics="gymnasium"`: HalfCheetah-v5's | `dynamics="paper"`: the authors' release |
| --- | --- | --- |
| timestep | 5 MuJoCo steps of 0.01 s | 1 of 0.01 s |
| forward velocity v | displacement of the torso per timestep | of the whole body's centre of mass, at its end |
| noise at reset | positions uniform in [-0.1, 0.1], velocities N(0, 0.1) | N(0, 0.01), N(0, 0.1) |

The model is Gymnasium's half_cheetah.xml. Deviation: the weight of the control cost is 0.1 in HalfCheetah-v5.
"""

import dataclasses
import functools
from dataclasses import dataclass

from metarl.arrays import Array, Mask, namespace, nowhere
from metarl.envs.family import register
from metarl.envs.goals import Direction, Forward, Velocity
from metarl.envs.locomotion import Locomotion
from metarl.envs.physics.protocol import Physics
from metarl.envs.robot import (
    VELOCITY_SCALE,
    Robot,
    centre_of_mass_position,
    centre_of_mass_velocity,
    control_cost,
    displacement,
    joints,
    normal_noise,
    straight,
    torso_position,
    uniform_noise,
)
from metarl.envs.variations import Masses

BODIES = ("torso", "bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")

_observe = functools.partial(joints, first=1)  # without x
_observe_compact = functools.partial(joints, first=1, scale=VELOCITY_SCALE)


def _observe_paper(physics: Physics, states: Array) -> Array:
    return namespace(states).concat([_observe(physics, states), physics.of(states, "subtree_com")], axis=1)


def _costs(physics: Physics, actions: Array, next_states: Array) -> dict[str, Array]:
    return {"control": control_cost(0.05, actions)}


def _never(physics: Physics, states: Array) -> Mask:
    return nowhere(states)


GYMNASIUM = Robot(
    xml="half_cheetah.xml",
    timestep=0.01,
    frame_skip=5,
    measured={},
    pose=straight,
    position_noise=uniform_noise(0.1),
    velocity_noise=normal_noise(0.1),
    velocity=displacement,
    position=torso_position,
    observe={"raw": _observe, "compact": _observe_compact},
    costs=_costs,
    fallen=_never,
)
PAPER = dataclasses.replace(
    GYMNASIUM,
    frame_skip=1,
    measured={"subtree_com": "torso", "subtree_linvel": "torso"},
    position_noise=normal_noise(0.01),
    velocity=centre_of_mass_velocity,
    position=centre_of_mass_position,
    observe={"raw": _observe_paper, "compact": _observe_compact},
)


@dataclass(frozen=True, kw_only=True)
class HalfCheetah(Locomotion):
    """Base of the half-cheetah's families."""

    robots = {"gymnasium": GYMNASIUM, "paper": PAPER}


@register("metarl/HalfCheetahVel-v0")
@dataclass(frozen=True, kw_only=True)
class HalfCheetahVel(HalfCheetah):
    """The half-cheetah shall run forward at a velocity drawn uniform in [0, 2] m/s."""

    goal = Velocity(2.0)


@register("metarl/HalfCheetahDir-v0")
@dataclass(frozen=True, kw_only=True)
class HalfCheetahDir(HalfCheetah):
    """The half-cheetah shall run forward or backward."""

    goal = Direction()


@register("metarl/HalfCheetahMass-v0")
@dataclass(frozen=True, kw_only=True)
class HalfCheetahMass(HalfCheetah):
    """The half-cheetah shall run forward, with the masses of its seven bodies times factors uniform in [0.5, 1.5]."""

    goal = Forward()
    variation = Masses(BODIES)
