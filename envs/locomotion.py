"""Locomotion (Finn et al. 2017, section 5.3): a robot x a goal is a task family.

Axes: n environments, S state, A action, k task. Robots are in half_cheetah.py and ant.py, goals in goals.py.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.envs.family import Array, Mask, TaskFamily
from metarl.envs.goals import Goal, Motion
from metarl.envs.mujoco_physics import LIMIT, MjModel, Physics

VELOCITY_NOISE = 0.1  # standard deviation of the velocities at reset, under both kinds of dynamics
VELOCITY_SCALE = (
    0.2  # of `observation="compact"`: joints turn at up to about 10 rad/s, other observations stay within 1
)


class Dynamics(NamedTuple):
    """What Gymnasium's environments and those of the authors' release do differently, whatever the robot."""

    frame_skip: int  # MuJoCo steps per timestep
    position_noise: Callable[[np.random.Generator, int], Array]  # (rng, nq) -> [nq], added to the pose at reset
    velocity: Callable[[Physics, Array, Array], Array]  # (physics, states, next_states) -> forward velocity [n], m/s
    position: Callable[[Physics, Array], Array]  # (physics, states) -> x, y [n, 2], m


def displacement(physics: Physics, states: Array, next_states: Array) -> Array:
    """The torso's displacement in x over the timestep's seconds, [n]."""
    moved = physics.of(next_states, "qpos")[:, 0] - physics.of(states, "qpos")[:, 0]
    return moved / physics.seconds_per_step


def centre_of_mass_velocity(physics: Physics, states: Array, next_states: Array) -> Array:
    """The velocity in x of the whole body's centre of mass at the end of the timestep, [n]."""
    return physics.of(next_states, "subtree_linvel")[:, 0]


DYNAMICS = {
    "gymnasium": Dynamics(
        frame_skip=5,
        position_noise=lambda rng, size: rng.uniform(-0.1, 0.1, size),
        velocity=displacement,
        position=lambda physics, states: physics.of(states, "qpos")[:, :2],  # of the torso
    ),
    "paper": Dynamics(
        frame_skip=1,
        position_noise=lambda rng, size: rng.normal(0.0, 0.01, size),
        velocity=centre_of_mass_velocity,
        position=lambda physics, states: physics.of(states, "subtree_com")[:, :2],  # of the whole body
    ),
}


class Robot(NamedTuple):
    """A body under one kind of dynamics; the functions are batched."""

    xml: str
    timestep: float  # seconds per MuJoCo step
    measured: Mapping[str, str | None]  # see Physics
    pose: Callable[[MjModel], Array]  # -> qpos [nq] at reset, before noise
    observe: Mapping[str, Callable[[Physics, Array], Array]]  # kind -> (physics, states) -> observations [n, O]
    costs: Callable[[Physics, Array, Array], dict[str, Array]]  # (physics, actions, next_states) -> terms, each [n]
    fallen: Callable[[Physics, Array], Mask]  # (physics, states) -> [n]


@dataclass(frozen=True)
class Locomotion(TaskFamily):
    """Run as the goal says. Observations, costs and physics are the robot's, under the chosen dynamics.

    The state is the physics' and, in a last column, the x at which the episode began.
    """

    robots: Mapping[str, Robot]  # by kind of dynamics
    goal: Goal
    dynamics: str = "gymnasium"
    observation: str = "raw"
    horizon: int = 200
    threads: int = 0

    def __post_init__(self) -> None:
        if self.dynamics not in DYNAMICS:
            raise ValueError(f"dynamics must be {' or '.join(map(repr, DYNAMICS))}; got {self.dynamics!r}")
        if self.observation not in self.robot.observe:
            kinds = " or ".join(map(repr, self.robot.observe))
            raise ValueError(f"observation must be {kinds}; got {self.observation!r}")
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 timestep; got {self.horizon}")

    @property
    def robot(self) -> Robot:
        """The robot under the chosen dynamics."""
        return self.robots[self.dynamics]

    @functools.cached_property
    def physics(self) -> Physics:
        """Where the simulations run."""
        robot = self.robot
        return Physics(
            robot.xml,
            frame_skip=DYNAMICS[self.dynamics].frame_skip,
            timestep=robot.timestep,
            measured=robot.measured,
            threads=self.threads,
        )

    @property
    def timesteps_per_second(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Of simulated time."""
        return 1 / self.physics.seconds_per_step

    @property
    def task_names(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The goal's."""
        return self.goal.task_names

    @property
    def achieved_name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The goal's."""
        return self.goal.achieved_name

    @functools.cached_property
    def observation_space(self) -> Box:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Anything up to MuJoCo's own limit."""
        empty = np.zeros((1, self.physics.state_size))
        return Box(-LIMIT, LIMIT, (self.observe(empty, empty).shape[1],), np.float64)

    @property
    def action_space(self) -> Box:
        """Torques, as shares of the actuators' strongest."""
        return Box(-1.0, 1.0, (self.physics.model.nu,), np.float64)

    @property
    def task_space(self) -> Box:
        """The goal's bounds."""
        return Box(np.array(self.goal.low), np.array(self.goal.high), dtype=np.float64)

    def valid_tasks(self, tasks: Array) -> Mask:
        """The goal knows, [n]."""
        return self.goal.valid(tasks)

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Array:
        """The goal's distribution, [n, k]."""
        return self.goal.sample(rng, n)

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """The robot's pose at rest, both with noise, [n, S]."""
        model, noise = self.physics.model, DYNAMICS[self.dynamics].position_noise
        qpos = self.robot.pose(model) + np.stack([noise(rng, model.nq) for rng in rngs])
        qvel = np.stack([rng.normal(0.0, VELOCITY_NOISE, model.nv) for rng in rngs])
        states = self.physics.start(qpos, qvel, self.goal.parameters(model, tasks))
        return np.concatenate([states, qpos[:, :1]], axis=1)

    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        """frame_skip steps of MuJoCo, [n, S]."""
        return self.physics.step(states, actions, self.goal.parameters(self.physics.model, tasks))

    def observe(self, states: Array, tasks: Array) -> Array:
        """The robot's observations, [n, O]."""
        return self.robot.observe[self.observation](self.physics, states)

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """The goal's term and the robot's costs, each [n]."""
        velocity = DYNAMICS[self.dynamics].velocity(self.physics, states, next_states)
        goal = self.goal.reward(self._motion(velocity, next_states), tasks)
        return {"goal": goal, **self.robot.costs(self.physics, actions, next_states)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Where the robot has fallen, [n]."""
        return self.robot.fallen(self.physics, states)

    def diverged(self, states: Array) -> Mask:
        """Where MuJoCo broke down, [n]."""
        return self.physics.diverged(states)

    def achieved(self, states: Array, tasks: Array) -> Array:
        """What the goal commands, as reached so far, [n]."""
        return self.goal.achieved(self._motion(np.zeros(len(states)), states), tasks)

    def commanded(self, tasks: Array) -> Array | None:
        """The goal's, [n]."""
        return self.goal.commanded(tasks)

    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """The last state, seen from the side by the camera that follows the robot; 480 x 480 pixels."""
        from metarl.envs.mujoco_rendering import picture  # here: loads OpenGL

        return picture(self.physics.model, self.physics.of(path[-1:], "qpos")[0])

    def _motion(self, velocity: Array, states: Array) -> Motion:
        x, time = self.physics.of(states, "qpos")[:, 0], self.physics.of(states, "time")[:, 0]
        elapsed = np.maximum(time, self.physics.seconds_per_step)  # at reset: nothing moved yet
        position = DYNAMICS[self.dynamics].position(self.physics, states)
        return Motion(velocity, (x - states[:, -1]) / elapsed, position)


def joints(physics: Physics, states: Array, *, first: int, scale: float = 1.0) -> Array:
    """Positions from qpos[first] on, and all velocities times a scale, [n, nq - first + nv]."""
    return np.concatenate([physics.of(states, "qpos")[:, first:], scale * physics.of(states, "qvel")], axis=1)


def straight(model: MjModel) -> Array:
    """The pose of the model's file, [nq]."""
    return model.qpos0


def control_cost(weight: float, actions: Array) -> Array:
    """-weight sum(a^2), [n]."""
    return -weight * np.square(actions).sum(axis=1)
