"""Locomotion (Finn et al. 2017, section 5.3): a task family is a robot x a goal x a variation.

Axes: n environments, S state, A action, k task. Robots are in robots/, goals in goals.py, variations in variations.py.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from metarl.arrays import Array, Mask, is_tensor, namespace, on_device, on_host
from metarl.envs.family import TaskFamily
from metarl.envs.goals import Goal, Motion
from metarl.envs.physics.protocol import LIMIT, Physics
from metarl.envs.robot import Robot
from metarl.envs.tasks import Joint
from metarl.envs.variations import Unchanged, Variation
from metarl.parts import MAY_CHANGE, at_least


@dataclass(frozen=True, kw_only=True)
class Locomotion(TaskFamily):
    """A robot that runs as the goal says. Observations, costs and physics are those of the robot.

    A subclass names its robots, goal and variation. Tasks are the numbers of the goal, then those of the variation.
    The state is that of the physics, followed by the x at which the episode began.
    """

    dynamics: Literal["gymnasium", "paper"] = "gymnasium"
    """gymnasium: the robot of Gymnasium's v5 environment. paper: the robot of the authors' release."""
    observation: Literal["raw", "compact"] = "raw"
    """raw: the observations of the chosen dynamics. compact: positions and scaled velocities alone."""
    threads: Annotated[int, at_least(0), MAY_CHANGE] = 0
    """Threads that step the environments; 0: one for each core that the process may use."""
    simulator: Annotated[Literal["auto", "threads", "warp"], MAY_CHANGE] = "auto"
    """threads: MuJoCo on the CPU. warp: MuJoCo Warp, in float32, on the run's device. auto: warp where that is a
    GPU."""

    robots: ClassVar[Mapping[str, Robot]]  # by kind of dynamics
    goal: ClassVar[Goal]
    variation: ClassVar[Variation] = Unchanged()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("dynamics", self.robots)
        self._require("observation", self.robot.observe)

    def _require(self, name: str, known: Mapping[str, object]) -> None:
        """Raise ValueError unless the value of an option is one of those that this robot knows."""
        if getattr(self, name) not in known:
            kinds = " or ".join(map(repr, known))
            raise ValueError(f"{name} of this robot must be {kinds}; got {getattr(self, name)!r}")

    @property
    def robot(self) -> Robot:
        """The robot under the chosen dynamics."""
        return self.robots[self.dynamics]

    @functools.cached_property
    def physics(self) -> Physics:
        """The physics engine, made at the first use."""
        robot = self.robot
        arguments: dict[str, Any] = {
            "frame_skip": robot.frame_skip,
            "timestep": robot.timestep,
            "measured": robot.measured,
            "contacts": robot.contacts,
        }
        # Imported here, because each loads packages that may be missing where it is not used.
        if self.device is not None:
            from metarl.envs.physics.mujoco_device import MujocoDevice

            return MujocoDevice(robot.xml, device=self.device, **arguments)
        from metarl.envs.physics.mujoco_threads import MujocoThreads

        return MujocoThreads(robot.xml, threads=self.threads, **arguments)

    def on(self, device: str) -> Self:
        """The same family, simulated as `simulator` says in a run on this device."""
        on_threads = self.simulator == "threads" or (self.simulator == "auto" and device == "cpu")
        return self if on_threads else self.placed(device)

    @property
    def timesteps_per_second(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Timesteps in a second of simulated time."""
        return 1 / self.physics.seconds_per_step

    @property
    def achieved_name(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What the goal's `achieved` measures, with its unit."""
        return self.goal.achieved_name

    @functools.cached_property
    def tasks(self) -> Joint:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The distribution of the goal's numbers, followed by the variation's."""
        return Joint((self.goal.tasks, self.variation.tasks))

    @functools.cached_property
    def observation_space(self) -> Box:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Numbers up to MuJoCo's own limit."""
        empty = np.zeros((1, self.physics.state_size))
        return Box(-LIMIT, LIMIT, (self.observe(empty, empty).shape[1],), np.float64)

    @property
    def action_space(self) -> Box:
        """Controls, as shares of the motors' strongest controls."""
        return Box(-1.0, 1.0, (self.physics.model.nu,), np.float64)

    def initial_state(self, tasks: Array, rngs: Sequence[np.random.Generator]) -> Array:
        """The robot's pose at rest, both with noise, [n, S]."""
        robot = self.robot
        model = self.physics.model
        qpos = robot.pose(model) + np.stack([robot.position_noise(rng, model.nq) for rng in rngs])
        qvel = np.stack([robot.velocity_noise(rng, model.nv) for rng in rngs])
        states = self.physics.start(qpos, qvel, self._parameters(tasks))
        return namespace(states).concat([states, self.physics.of(states, "qpos")[:, :1]], axis=1)

    def transition(self, states: Array, actions: Array, tasks: Array) -> Array:
        """States after one timestep, which is `frame_skip` steps of MuJoCo, [n, S]."""
        centre, half = self._controls
        return self.physics.step(states, centre + half * actions, self._parameters(tasks))

    def observe(self, states: Array, tasks: Array) -> Array:
        """The robot's observations, [n, O]."""
        return self.robot.observe[self.observation](self.physics, states)

    def reward_terms(self, states: Array, actions: Array, next_states: Array, tasks: Array) -> dict[str, Array]:
        """The goal's term and the robot's costs, each [n]."""
        velocity = self.robot.velocity(self.physics, states, next_states)
        goal = self.goal.reward(self._motion(velocity, next_states), self._of_goal(tasks))
        return {"goal": goal, **self.robot.costs(self.physics, actions, next_states)}

    def terminated(self, states: Array, tasks: Array) -> Mask:
        """Where the robot has fallen, [n]."""
        return self.robot.fallen(self.physics, states)

    def diverged(self, states: Array) -> Mask:
        """Where MuJoCo broke down, [n]."""
        return self.physics.diverged(states)

    def achieved(self, states: Array, tasks: Array) -> Array:
        """The present value of what the goal commands, [n]."""
        at_rest = namespace(states).zeros_like(states[:, 0])
        return self.goal.achieved(self._motion(at_rest, states), self._of_goal(tasks))

    def commanded(self, tasks: Array) -> Array | None:
        """The value of `achieved` that the goal asks for, [n]; None where it asks for the most or the least."""
        return self.goal.commanded(self._of_goal(tasks))

    def render(self, path: Array, task: Array) -> NDArray[np.uint8]:
        """The last state, seen from the side by the camera that follows the robot; 480 x 480 pixels."""
        # Imported here, because the import loads OpenGL.
        from metarl.envs.mujoco_rendering import picture

        return picture(self.physics.model, self.physics.of(path[-1:], "qpos")[0])

    def _of_goal(self, tasks: Array) -> Array:
        return tasks[:, : len(self.goal.tasks.names)]

    def _parameters(self, tasks: Array) -> dict[str, Array]:
        """The model's parameters for tasks [n, k], by the variation. Those of a tensor are kept until another comes."""
        kept = self._kept_parameters
        if not is_tensor(tasks) or kept.get("tasks") is not tasks:
            rows = on_host(tasks)[:, len(self.goal.tasks.names) :]
            kept["parameters"] = self.variation.parameters(self.physics.model, rows)
            kept["tasks"] = tasks
        return kept["parameters"]

    @functools.cached_property
    def _kept_parameters(self) -> dict[str, Any]:
        """The last tasks, and their parameters."""
        return {}

    @functools.cached_property
    def _controls(self) -> tuple[Any, Any]:
        """The middle of the bounds of the motors' controls, and the distance from it to the bounds, each [A]."""
        model = self.physics.model
        if not model.actuator_ctrllimited.all():
            raise ValueError(f"every motor of {self.robot.xml} needs a ctrlrange, for actions are shares of it")
        low, high = model.actuator_ctrlrange.T
        return on_device((low + high) / 2, self.device), on_device((high - low) / 2, self.device)

    def _motion(self, velocity: Array, states: Array) -> Motion:
        x = self.physics.of(states, "qpos")[:, 0]
        # At reset no time has passed and nothing has moved: the mean velocity is 0.
        elapsed = self.physics.of(states, "time")[:, 0].clip(min=self.physics.seconds_per_step)
        return Motion(velocity, (x - states[:, -1]) / elapsed, self.robot.position(self.physics, states))
