"""The humanoid: a torso, two legs and two arms with 17 motors, which can fall.

| action | name | unit |
| --- | --- | --- |
| 0 .. 2 | abdomen y, z, x | share of the motor's strongest control, 0.4 |
| 3 .. 6, 7 .. 10 | right, left: hip x, z, y, knee | the same |
| 11 .. 13, 14 .. 16 | right, left: shoulder 1, shoulder 2, elbow | the same |

| observation, `dynamics="gymnasium"` | name | unit |
| --- | --- | --- |
| 0 | height of the torso | m |
| 1 .. 4 | orientation of the torso, a quaternion | |
| 5 .. 21 | angles of the joints | rad |
| 22 .. 44 | velocity and angular velocity of the torso, angular velocities of the joints | m/s, rad/s |
| 45 .. 174 | inertia and mass of each of 13 bodies about the centre of mass, MuJoCo's cinert | kg m^2, kg m, kg |
| 175 .. 252 | their angular and linear velocities about it, cvel | rad/s, m/s |
| 253 .. 269 | torques of the motors | N m |
| 270 .. 347 | contact torque and force on each body, about the centre of mass | N m, N |

With `dynamics="paper"` the rows from 45 on include those of the world, as in the code of Rothfuss et al. 2019
("ProMP"): 376 numbers. `observation="compact"`, under both: 0 .. 44, with the velocities times 0.2.

Reward: 1.25 d v for the direction d and the velocity v, the displacement of the whole body's centre of mass per
timestep, + 5 - 0.1 sum(c^2) - min(10, 5e-7 sum(contact torques and forces^2)), c = 0.4 clip(a, -1, 1). An episode
terminates where the torso's height leaves (1, 2) m. A timestep is 5 MuJoCo steps (RK4) of 0.003 s. Noise at reset:
positions and velocities uniform in [-0.01, 0.01].

| | `dynamics="gymnasium"`: Humanoid-v5's | `dynamics="paper"`: ProMP's |
| --- | --- | --- |
| the bonus of 5 | not in the timestep in which the humanoid falls | always |

The model is Gymnasium's humanoid.xml. Deviations: measured quantities (rows 45 on, the centre of mass) are those of the
state that is observed; Humanoid-v5 reads them from the last stage of RK4 in the last substep. ProMP used MuJoCo 1.5.
"""

import dataclasses
import functools
from dataclasses import dataclass

from metarl.arrays import Array, Mask, namespace
from metarl.envs.family import register
from metarl.envs.goals import Direction
from metarl.envs.locomotion import Locomotion
from metarl.envs.physics.protocol import Physics
from metarl.envs.robot import (
    VELOCITY_SCALE,
    Robot,
    alive,
    centre_of_mass_position,
    control_cost,
    joints,
    straight,
    uniform_noise,
)

# Weights of the reward's terms.
CONTROL = 0.1
CONTACT = 5e-7
ALIVE = 5.0
STRONGEST = 0.4  # control at action 1
MOST = 10.0  # largest cost of contacts
HEIGHTS = (1.0, 2.0)  # metres: outside, the humanoid has fallen
# Measured quantity -> how many of its first numbers belong to the world or the free joint.
WORLDS = {"cinert": 10, "cvel": 6, "qfrc_actuator": 6, "cfrc_ext": 6}


def _observe_paper(physics: Physics, states: Array) -> Array:
    parts = [joints(physics, states, first=2), *(physics.of(states, name) for name in WORLDS)]
    return namespace(states).concat(parts, axis=1)


def _observe(physics: Physics, states: Array) -> Array:
    measured = (physics.of(states, name)[:, first:] for name, first in WORLDS.items())
    return namespace(states).concat([joints(physics, states, first=2), *measured], axis=1)


def _velocity(physics: Physics, states: Array, next_states: Array) -> Array:
    moved = physics.of(next_states, "subtree_com")[:, 0] - physics.of(states, "subtree_com")[:, 0]
    return moved / physics.seconds_per_step


def _costs_paper(physics: Physics, actions: Array, next_states: Array) -> dict[str, Array]:
    contacts = CONTACT * namespace(actions).square(physics.of(next_states, "cfrc_ext")).sum(axis=1)
    return {
        "control": control_cost(CONTROL * STRONGEST**2, actions),
        "contact": -contacts.clip(max=MOST),
        "alive": alive(ALIVE, actions),
    }


def _costs(physics: Physics, actions: Array, next_states: Array) -> dict[str, Array]:
    bonus = alive(ALIVE, actions, _fallen(physics, next_states))
    return _costs_paper(physics, actions, next_states) | {"alive": bonus}


def _fallen(physics: Physics, states: Array) -> Mask:
    height = physics.of(states, "qpos")[:, 2]
    return (height <= HEIGHTS[0]) | (height >= HEIGHTS[1])


_observe_compact = functools.partial(joints, first=2, scale=VELOCITY_SCALE)

GYMNASIUM = Robot(
    xml="humanoid.xml",
    timestep=0.003,
    frame_skip=5,
    measured={**dict.fromkeys(WORLDS), "subtree_com": "torso"},
    pose=straight,
    position_noise=uniform_noise(0.01),
    velocity_noise=uniform_noise(0.01),
    velocity=_velocity,
    position=centre_of_mass_position,
    observe={"raw": _observe, "compact": _observe_compact},
    costs=_costs,
    fallen=_fallen,
)
PAPER = dataclasses.replace(GYMNASIUM, observe={"raw": _observe_paper, "compact": _observe_compact}, costs=_costs_paper)


@register("metarl/HumanoidDir-v0")
@dataclass(frozen=True, kw_only=True)
class HumanoidDir(Locomotion):
    """The humanoid shall run forward or backward."""

    robots = {"gymnasium": GYMNASIUM, "paper": PAPER}
    goal = Direction(weight=1.25)
