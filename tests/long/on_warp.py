"""MuJoCo Warp on its CPU back end beside MuJoCo: `pytest tests/long/on_warp.py`, where `metarl[gpu]` is installed.

No other test needs it, so that this file is collected by its name alone. Warp compiles its kernels at their first use,
which takes minutes, and keeps them in a cache of the user's.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import gaussian_mlp, generator
from scripts import TOY, run

from metarl.engine.params import stack
from metarl.envs import Locomotion, TaskFamily, make_family
from metarl.envs.physics import worlds
from metarl.envs.physics.mujoco_device import MujocoDevice
from metarl.envs.physics.mujoco_threads import MujocoThreads
from metarl.envs.robots import ant, half_cheetah
from metarl.experiments import benchmark
from metarl.experiments.benchmarks.device import elliptic
from metarl.randomness import Purpose
from metarl.rl.sampler import rollout

# Kernels that are not optimised are compiled in a fraction of the time.
worlds.warp.config.optimization_level = 0

N = 4  # simulations
LARGEST = {  # measured quantity -> largest error of one step; forces of contacts are up to 30
    "time": 1e-6,
    "qpos": 3e-5,
    "qvel": 5e-3,
    "subtree_com": 3e-6,
    "subtree_linvel": 3e-4,
    "xmat": 3e-5,
    "cfrc_ext": 2e-2,
}


def masses(model: Any) -> dict[str, Any]:
    factors = np.random.default_rng(5).uniform(0.5, 1.5, (N, model.nbody))
    return {"body_mass": factors * model.body_mass, "body_inertia": factors[:, :, None] * model.body_inertia}


def nothing(model: Any) -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module")
def elliptic_ant(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The ant with elliptic friction cones, which both engines compute alike."""
    return elliptic(tmp_path_factory.mktemp("models"))


def engines(robot: Any, xml: str | None = None) -> tuple[MujocoDevice, MujocoThreads]:
    arguments = {
        "frame_skip": robot.frame_skip,
        "timestep": robot.timestep,
        "measured": robot.measured,
        "contacts": robot.contacts,
    }
    return MujocoDevice(xml or robot.xml, device="cpu", **arguments), MujocoThreads(xml or robot.xml, **arguments)


@pytest.mark.parametrize(
    ("robot", "parameters"),
    [
        (half_cheetah.GYMNASIUM, nothing),
        (half_cheetah.PAPER, nothing),
        (half_cheetah.PAPER, masses),
        (ant.GYMNASIUM, nothing),
        (ant.PAPER, nothing),
    ],
    ids=["half-cheetah", "half-cheetah-paper", "half-cheetah-masses", "ant", "ant-paper"],
)
def test_steps_are_those_of_mujoco(robot: Any, parameters: Callable[[Any], dict[str, Any]], elliptic_ant: str) -> None:
    """Every step from the states of MuJoCo, to float32's rounding; and the first 10 steps of a path on its own."""
    ours, theirs = engines(robot, elliptic_ant if "ant" in robot.xml else None)
    model = theirs.model
    rng = np.random.default_rng(0)
    qpos, qvel = robot.pose(model) + rng.uniform(-0.1, 0.1, (N, model.nq)), rng.normal(0, 0.1, (N, model.nv))
    varied = parameters(model)
    states, path = theirs.start(qpos, qvel, varied), ours.start(qpos, qvel, varied)
    largest = {name: 0.0 for name in LARGEST if name in ours._columns}
    assert len(largest) == 3 + len(robot.measured)
    for t in range(40):
        controls = rng.uniform(-1, 1, (N, model.nu))
        one = ours.step(torch.tensor(states, dtype=torch.float32), torch.tensor(controls), varied)
        states, path = theirs.step(states, controls, varied), ours.step(path, torch.tensor(controls), varied)
        for name in largest:
            error = np.abs(ours.of(one, name).numpy() - theirs.of(states, name)).max()  # pyright: ignore
            largest[name] = max(largest[name], float(error))
        if t == 9:
            np.testing.assert_allclose(ours.of(path, "qpos"), theirs.of(states, "qpos"), atol=5e-3)
    assert all(error <= LARGEST[name] for name, error in largest.items()), largest
    assert not theirs.diverged(states).any()
    if "cfrc_ext" in robot.measured:
        assert np.abs(theirs.of(states, "cfrc_ext")).max() > 1  # they have touched the ground


def test_pyramidal_cones_of_steep_capsules_differ() -> None:
    """The ant's own cones: a step moves its joints by up to a few hundredths otherwise while its feet touch."""
    ours, theirs = engines(ant.GYMNASIUM)
    rng = np.random.default_rng(0)
    model = theirs.model
    states = theirs.start(model.qpos0 + rng.uniform(-0.1, 0.1, (N, model.nq)), rng.normal(0, 0.1, (N, model.nv)))
    errors = []
    for _ in range(40):
        controls = rng.uniform(-1, 1, (N, model.nu))
        one = ours.step(torch.tensor(states, dtype=torch.float32), torch.tensor(controls))
        states = theirs.step(states, controls)
        errors.append(np.abs(ours.of(one, "qpos").numpy() - theirs.of(states, "qpos")).max())  # pyright: ignore
    assert 1e-4 < max(errors) < 0.05


def test_a_world_that_breaks_keeps_its_state_and_no_other_does() -> None:
    ours, theirs = engines(half_cheetah.GYMNASIUM)
    model = theirs.model
    qpos, qvel = np.tile(model.qpos0, (N, 1)), np.zeros((N, model.nv))
    qvel[1, 3] = 1e12
    qvel[2, 3] = np.nan
    start: Any = ours.start(qpos, qvel)
    after: Any = ours.step(start, torch.zeros(N, model.nu))
    reference = theirs.step(theirs.start(qpos, qvel), np.zeros((N, model.nu)))
    assert ours.diverged(after).tolist() == theirs.diverged(reference).tolist() == [False, True, True, False]
    kept = ours._columns["diverged"].start
    torch.testing.assert_close(after[1:3, :kept], start[1:3, :kept], equal_nan=True)
    np.testing.assert_allclose(ours.of(after, "qpos")[[0, 3]], theirs.of(reference, "qpos")[[0, 3]], atol=1e-5)
    again: Any = ours.step(after, torch.zeros(N, model.nu))
    assert ours.diverged(again).tolist() == [False, True, True, False]


def test_what_does_not_fit_breaks_its_world_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worlds.room(MujocoThreads("half_cheetah.xml").model) == (16, 70)
    assert worlds.room(MujocoThreads("ant.xml").model) == (25, 108)
    ours, _ = engines(half_cheetah.GYMNASIUM)
    monkeypatch.setattr(worlds, "room", lambda model: (16, 5))
    qpos = np.tile(ours.model.qpos0, (N, 1))
    qpos[1, 1] = -0.4  # in the ground
    states: Any = ours.start(qpos, np.zeros((N, ours.model.nv)))
    states = ours.step(states, torch.zeros(N, ours.model.nu))
    assert ours.diverged(states).tolist() == [False, True, False, False]
    words = r"1 of 4 simulations of half_cheetah.xml had more constraints than there is room for, 16 contacts and 5 con"
    with pytest.raises(ValueError, match=words):
        ours.start(qpos, np.zeros((N, ours.model.nv)))
    ours.start(qpos, np.zeros((N, ours.model.nv)))


def test_the_same_again_is_the_same_and_fewer_are_the_first() -> None:
    ours, _ = engines(half_cheetah.PAPER)
    rng = np.random.default_rng(0)
    qpos, controls = rng.uniform(-0.1, 0.1, (N, ours.model.nq)), torch.tensor(rng.uniform(-1, 1, (5, N, 6)))

    def played(n: int) -> torch.Tensor:
        states: Any = ours.start(qpos[:n], np.zeros((n, ours.model.nv)))
        for each in controls:
            states = ours.step(states, each[:n])
        return states

    whole = played(N)
    torch.testing.assert_close(played(N), whole, rtol=0, atol=0)
    torch.testing.assert_close(played(2), whole[:2], rtol=1e-4, atol=1e-5)


def on_both(environment_id: str, **options: Any) -> tuple[TaskFamily, TaskFamily]:
    return make_family(environment_id, simulator="warp", **options).on("cpu"), make_family(environment_id, **options)


@pytest.mark.parametrize("environment_id", ["metarl/HalfCheetahDir-v0", "metarl/HalfCheetahMass-v0"])
def test_episodes_of_the_sampler_begin_as_on_the_cpu(environment_id: str) -> None:
    policy = gaussian_mlp(17, 6, hidden_sizes=(8,))
    params = stack(policy.init(generator(0)), 2)
    ours, theirs = (
        [rollout(env, policy, params, tasks, horizon=8, key=(1, Purpose.TRAINING_ROLLOUTS, 0, 0)) for tasks in rows]
        for family in on_both(environment_id)
        for env in [family.build(N, horizon=8)]
        for rows in [family.tasks.sample(np.random.default_rng(0), 4).reshape(2, 2, -1)]
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.observations[:, :5], other.observations[:, :5], rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(one.rewards[:, :5], other.rewards[:, :5], rtol=1e-2, atol=1e-2)
        assert one.mask.all()
        assert other.mask.all()


def test_ended_ants_are_frozen_and_masked_resets_change_no_other() -> None:
    env = on_both("metarl/AntDir-v1", dynamics="paper")[0].build(N, horizon=50)
    physics = cast(Locomotion, env.process).physics
    seen: Any
    seen, _ = env.reset(seed=0)
    ended = torch.zeros(N, dtype=torch.bool)
    for _ in range(50):
        before = seen
        seen, _, terminated, truncated, _ = cast(Any, env.step(torch.ones(N, 8)))
        torch.testing.assert_close(seen[ended], before[ended], rtol=0, atol=0)
        ended = terminated | truncated
    assert ended.all()
    mask = np.arange(N) == 1
    again: Any = env.reset(options={"reset_mask": mask})[0]
    torch.testing.assert_close(again[~torch.tensor(mask)], seen[~torch.tensor(mask)], rtol=0, atol=0)
    assert physics.of(env.states, "time")[1] == 0


@pytest.mark.parametrize("robot", ["HumanoidDir", "HopperParams", "Walker2DParams"])
def test_other_robots_step(robot: str) -> None:
    family, reference = on_both(f"metarl/{robot}-v0")
    tasks = family.tasks.sample(np.random.default_rng(0), 2)
    seen = []
    for made in (family, reference):
        env = made.build(2, horizon=5)
        env.reset(seed=0, options={"tasks": tasks})
        actions = np.full((2, *made.action_space.shape), 0.3)
        env.step(actions)
        result: Any = env.step(actions)
        seen.append(np.asarray(result[0]))
        assert not np.asarray(result[4]["diverged"]).any()
    np.testing.assert_allclose(*seen, rtol=0.05, atol=0.05)


def test_the_benchmark_of_a_device_runs(tmp_path: Path) -> None:
    benchmark.command(["device", "--quick", "--output", str(tmp_path / "figures.json")])
    figures = json.loads((tmp_path / "figures.json").read_text())["device"]
    assert [len(figures[name]) for name in ("parity", "rates", "iteration", "training")] == [2, 4, 4, 2]


def test_a_run_trains_evaluates_and_draws(tmp_path: Path) -> None:
    sizes = [*TOY, "--horizon", "5", "--simulator", "warp"]
    trained = run("train", "custom", "--environment", "metarl/HalfCheetahVel-v0", *sizes, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert run("evaluate", tmp_path / "run").returncode == 0
    assert run("render", tmp_path / "run", "--output", tmp_path / "film.gif").returncode == 0
