"""Robots on a device: families and the sampler with a stand-in for MuJoCo Warp, which is MuJoCo behind tensors.

MuJoCo Warp itself, on its CPU back end, is in tests/long/on_warp.py.
"""

import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import gaussian_mlp, generator
from torch.utils._pytree import tree_map

from metarl.arrays import on_host
from metarl.engine.params import stack
from metarl.envs import make_family
from metarl.envs.physics.mujoco_threads import MujocoThreads
from metarl.envs.physics.protocol import Physics
from metarl.randomness import Purpose
from metarl.rl.sampler import rollout

KEY = (1, Purpose.TRAINING_ROLLOUTS, 0, 0)


class StandIn(Physics):
    """MuJoCo in float64 behind tensors; it remembers which objects it was given as parameters."""

    def __init__(self, xml: str, *, device: str, **arguments: Any) -> None:
        self.device = device
        self.threads = MujocoThreads(xml, **arguments)
        self.model, self.seconds_per_step = self.threads.model, self.threads.seconds_per_step
        self.parameters: list[Any] = []

    @property
    def state_size(self) -> int:
        return self.threads.state_size

    def of(self, states: Any, name: str) -> Any:
        return self.threads.of(states, name)

    def start(self, qpos: Any, qvel: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        return torch.as_tensor(self.threads.start(qpos, qvel, parameters), device=self.device)

    def step(self, states: Any, controls: Any, parameters: Mapping[str, Any] | None = None) -> Any:
        assert isinstance(states, torch.Tensor)
        assert isinstance(controls, torch.Tensor)
        self.parameters.append(parameters)
        return torch.as_tensor(self.threads.step(on_host(states), on_host(controls), parameters))

    def diverged(self, states: Any) -> Any:
        return self.threads.diverged(states)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "metarl.envs.physics.mujoco_device", SimpleNamespace(MujocoDevice=StandIn))


@pytest.mark.parametrize(
    ("environment_id", "options"),
    [
        ("metarl/HalfCheetahVel-v0", {}),
        ("metarl/HalfCheetahMass-v0", {"dynamics": "paper"}),
        ("metarl/AntGoal-v2", {"dynamics": "paper"}),
        ("metarl/AntDir-v1", {"observation": "compact"}),
    ],
)
def test_episodes_on_a_device_are_those_on_the_cpu(environment_id: str, options: dict[str, Any]) -> None:
    family = make_family(environment_id, **options)
    observations, actions = family.spaces()
    policy = gaussian_mlp(observations.shape[0], actions.shape[0], hidden_sizes=(8,))
    tasks = family.tasks.sample(np.random.default_rng(0), 2)
    ours, theirs = (
        rollout(made.build(6, horizon=100), policy, stack(policy.init(generator(0)), 2), tasks, horizon=100, key=KEY)
        for made in (make_family(environment_id, simulator="warp", **options).on("cpu"), family)
    )
    tree_map(lambda one, other: torch.testing.assert_close(one, other, equal_nan=True), ours, theirs)
    if environment_id == "metarl/AntDir-v1":
        assert (theirs.num_steps < 100).any()  # they have fallen


def test_parameters_are_one_object_until_tasks_are_set() -> None:
    env = make_family("metarl/HalfCheetahMass-v0", simulator="warp").on("cpu").build(2, horizon=9)
    physics: Any = env.process.physics  # pyright: ignore[reportAttributeAccessIssue]
    for tasks in (np.full((2, 7), 0.7), np.full((2, 7), 1.3)):
        env.reset(seed=0, options={"tasks": tasks})
        for _ in range(2):
            env.step(np.zeros((2, 6)))
    first, again, second, _ = physics.parameters
    assert first is again
    np.testing.assert_allclose(second["body_mass"][:, 1:] / first["body_mass"][:, 1:], 1.3 / 0.7)


@pytest.mark.parametrize(
    ("simulator", "device", "placed"),
    [
        ("auto", "cpu", None),
        ("auto", "cuda", "cuda"),
        ("threads", "cpu", None),
        ("threads", "cuda", None),
        ("warp", "cpu", "cpu"),
        ("warp", "cuda:1", "cuda:1"),
    ],
)
def test_where_robots_are_simulated(simulator: str, device: str, placed: str | None) -> None:
    family = make_family("metarl/AntVel-v1", simulator=simulator).on(device)
    assert family.device == placed
    if placed != "cuda:1":
        assert isinstance(family.physics, StandIn if placed else MujocoThreads)  # pyright: ignore
