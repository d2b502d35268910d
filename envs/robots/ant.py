"""The ant (Finn et al. 2017, section 5.3): a torso on four legs with eight motors that can fall on its back.

| action | name | unit |
| --- | --- | --- |
| 0 .. 7 | hip and ankle of the legs right back, front left, front right, back | share of the motor's torque, 150 N m |

| observation, `dynamics="gymnasium"` | name | unit |
| --- | --- | --- |
| 0 | height of the torso | m |
| 1 .. 4 | orientation of the torso, a quaternion | |
| 5 .. 12 | angles: hip and ankle of the legs front left, front right, back, right back | rad |
| 13 .. 18 | velocity and angular velocity of the torso | m/s, rad/s |
| 19 .. 26 | angular velocities, in the order of the angles | rad/s |
| 27 .. 104 | contact torque and force on each of 13 bodies, about the centre of mass, clipped to [-1, 1] | N m, N |

| observation, `dynamics="paper"` | name | unit |
| --- | --- | --- |
| 0, 1 | x, y of the torso | m |
| 2 .. 28 | as 0 .. 26 above | |
| 29 .. 112 | contact torques and forces as above, with those of the world (zero) before them | N m, N |
| 113 .. 121 | rotation matrix of the torso | |
| 122 .. 124 | centre of mass of the whole body | m |

`observation="compact"`, under both kinds of dynamics: 0 .. 26 of the first table, with the velocities times 0.2.
An ant that shall go to a place (`AntGoal`) also observes where it is: x and y of the torso, in metres, come first in
every observation.

Reward: the goal's term (goals.py; a bonus of 1 per timestep for velocities, 4 for positions)
`+ 0.05 - 0.005 sum(a^2) - 0.0005 sum(clip(contact torques and forces, -1, 1)^2)`, a clipped to [-1, 1].
An episode terminates where the torso's height leaves [0.2, 1.0] m.

| | `dynamics="gymnasium"`: Ant-v5's | `dynamics="paper"`: the authors' release |
| --- | --- | --- |
| timestep | 5 MuJoCo steps (RK4) of 0.01 s | 1 of 0.02 s |
| contacts | MuJoCo's: solref 0.02 1, solimp 0.9 0.95 0.001 | solref 0.02 1, solimp 0.8 0.8 0.01: they give way more |
| forward velocity v | displacement of the torso per timestep | of the whole body's centre of mass, at its end |
| position, for goals | of the torso | of the whole body's centre of mass |
| pose at reset | legs straight, torso at 0.75 m | ankles bent by 1 rad, torso at 0.55 m |
| the 0.05 | not in the timestep in which the ant falls | always |
| noise at reset | positions uniform in [-0.1, 0.1], velocities N(0, 0.1) | N(0, 0.01), N(0, 0.1) |

The model is Gymnasium's ant.xml; the authors' differs from it in the contacts alone. Before version 1 of these families
`dynamics="paper"` had Gymnasium's contacts; `dynamics="gymnasium"` has not changed.

Deviations: contact terms are those of the state that is observed, under the action that led there. Ant-v5 reads them,
and the torso's position from which it computes v, from the last stage of RK4 in the last substep, and reports none at
reset. Ant-v5 also has other weights of the costs.
"""

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metarl.arrays import Array, Mask, namespace
from metarl.envs.family import register
from metarl.envs.goals import Direction, Position, Velocity
from metarl.envs.locomotion import Locomotion
from metarl.envs.physics.protocol import Contacts, Physics
from metarl.envs.robot import (
    VELOCITY_SCALE,
    Robot,
    alive,
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

if TYPE_CHECKING:
    from metarl.envs.physics.binding import MjModel

# Weights of the reward's terms.
CONTROL = 0.005
CONTACT = 0.0005
ALIVE = 0.05
HEIGHTS = (0.2, 1.0)  # metres: outside, the ant has fallen or been thrown


def _bent(model: "MjModel") -> Array:
    """The pose with bent ankles, [nq]."""
    return model.numeric("init_qpos").data


def _contacts(physics: Physics, states: Array) -> Array:
    """Contact torques and forces, clipped, [n, 14 x 6]; the first 6 are those of the world."""
    return physics.of(states, "cfrc_ext").clip(-1.0, 1.0)


def _observe(physics: Physics, states: Array, first: int = 2) -> Array:
    parts = joints(physics, states, first=first), _contacts(physics, states)[:, 6:]
    return namespace(states).concat(parts, axis=1)


def _observe_paper(physics: Physics, states: Array) -> Array:
    parts = [
        physics.of(states, "qpos"),
        physics.of(states, "qvel"),
        _contacts(physics, states),
        physics.of(states, "xmat"),
        physics.of(states, "subtree_com"),
    ]
    return namespace(states).concat(parts, axis=1)


_observe_compact = functools.partial(joints, first=2, scale=VELOCITY_SCALE)  # without x and y
_compact_with_position = functools.partial(joints, first=0, scale=VELOCITY_SCALE)


def _costs_paper(physics: Physics, actions: Array, next_states: Array) -> dict[str, Array]:
    arrays = namespace(actions)
    contacts = _contacts(physics, next_states)
    return {
        "control": control_cost(CONTROL, actions),
        "contact": -CONTACT * arrays.square(contacts).sum(axis=1),
        "alive": alive(ALIVE, actions),
    }


def _costs(physics: Physics, actions: Array, next_states: Array) -> dict[str, Array]:
    bonus = alive(ALIVE, actions, _fallen(physics, next_states))
    return _costs_paper(physics, actions, next_states) | {"alive": bonus}


def _fallen(physics: Physics, states: Array) -> Mask:
    height = physics.of(states, "qpos")[:, 2]
    return (height < HEIGHTS[0]) | (height > HEIGHTS[1])


GYMNASIUM = Robot(
    xml="ant.xml",
    timestep=0.01,
    frame_skip=5,
    measured={"cfrc_ext": None},
    pose=straight,
    position_noise=uniform_noise(0.1),
    velocity_noise=normal_noise(0.1),
    velocity=displacement,
    position=torso_position,
    observe={"raw": _observe, "compact": _observe_compact},
    costs=_costs,
    fallen=_fallen,
)
PAPER = dataclasses.replace(
    GYMNASIUM,
    timestep=0.02,
    frame_skip=1,
    contacts=Contacts(solref=(0.02, 1.0), solimp=(0.8, 0.8, 0.01)),
    measured={"cfrc_ext": None, "xmat": "torso", "subtree_com": "torso", "subtree_linvel": "torso"},
    pose=_bent,
    position_noise=normal_noise(0.01),
    velocity=centre_of_mass_velocity,
    position=centre_of_mass_position,
    observe={"raw": _observe_paper, "compact": _observe_compact},
    costs=_costs_paper,
)
# Who shall stop at a place must know where it is.
GYMNASIUM_WITH_POSITION = dataclasses.replace(
    GYMNASIUM, observe={"raw": functools.partial(_observe, first=0), "compact": _compact_with_position}
)
PAPER_WITH_POSITION = dataclasses.replace(PAPER, observe={"raw": _observe_paper, "compact": _compact_with_position})


@dataclass(frozen=True, kw_only=True)
class Ant(Locomotion):
    """Base of the ant's families."""

    robots = {"gymnasium": GYMNASIUM, "paper": PAPER}


@register("metarl/AntVel-v1")
@dataclass(frozen=True, kw_only=True)
class AntVel(Ant):
    """The ant shall run forward at a velocity drawn uniform in [0, 3] m/s."""

    goal = Velocity(3.0, bonus=1.0)


@register("metarl/AntDir-v1")
@dataclass(frozen=True, kw_only=True)
class AntDir(Ant):
    """The ant shall run forward or backward."""

    goal = Direction()


@register("metarl/AntGoal-v2")
@dataclass(frozen=True, kw_only=True)
class AntGoal(Ant):
    """The ant shall go to a place drawn uniform in [-3, 3]^2 m.

    Before version 2 it observed x and y under `dynamics="paper"`, `observation="raw"` alone.
    """

    robots = {"gymnasium": GYMNASIUM_WITH_POSITION, "paper": PAPER_WITH_POSITION}
    goal = Position(3.0, bonus=4.0)
