"""Walker and hopper: against Gymnasium's own, by formulas written once more, and bodies of random parameters."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import copy
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

from metarl.arrays import Array
from metarl.envs import Locomotion, make_family
from metarl.envs.physics.models import compile_model

N = 300
GYMNASIUMS = {"Walker2D": "Walker2d-v5", "Hopper": "Hopper-v5"}
FAMILIES = ["metarl/Walker2DVel-v0", "metarl/Walker2DDir-v0", "metarl/Walker2DParams-v0", "metarl/HopperParams-v0"]
PARAMETERS = [name for name in FAMILIES if "Params" in name]


def family_of(environment_id: str, dynamics: str) -> Locomotion:
    return cast(Locomotion, make_family(environment_id, dynamics=dynamics))


def unchanged(family: Locomotion, tasks: Array) -> Array:
    """The same tasks with the body of the model's file: all factors 1."""
    goal = len(family.goal.tasks.names)
    return np.concatenate([tasks[:, :goal], np.ones_like(tasks[:, goal:])], axis=1)


def moves(family: Locomotion, n: int = N) -> tuple[Array, Array, Array]:
    """States that random actions reach after 0 to 24 timesteps, some of them fallen; the next actions; tasks."""
    rng = np.random.default_rng(0)
    tasks = unchanged(family, family.tasks.sample(rng, n))
    states = family.initial_state(tasks, [np.random.default_rng(i) for i in range(n)])
    shape = family.action_space.shape or ()
    for t in range(24):
        moving = np.arange(n) % 25 > t
        states[moving] = family.transition(states[moving], rng.uniform(-1, 1, (moving.sum(), *shape)), tasks[moving])
    return states, rng.uniform(-1, 1, (n, *shape)), tasks


@pytest.mark.parametrize("environment_id", FAMILIES)
def test_one_step_equals_gymnasiums(environment_id: str) -> None:
    family = family_of(environment_id, "gymnasium")
    states, actions, tasks = moves(family)
    own = next(theirs for ours, theirs in GYMNASIUMS.items() if ours in environment_id)
    env, physics = cast(MujocoEnv, gymnasium.make(own).unwrapped), family.physics
    assert physics.seconds_per_step == pytest.approx(env.dt)
    after = family.transition(states, actions, tasks)
    observations, terms = family.observe(after, tasks), family.reward_terms(states, actions, after, tasks)
    terminated = family.terminated(after, tasks)
    for i in range(N):
        env.set_state(physics.of(states, "qpos")[i], physics.of(states, "qvel")[i])
        env.data.qacc_warmstart[:] = physics.of(states, "qacc_warmstart")[i]
        seen, _, ended, _, info = env.step(actions[i])
        np.testing.assert_allclose(observations[i], seen, rtol=0, atol=1e-9)
        assert terminated[i] == ended
        assert terms["control"][i] == pytest.approx(info["reward_ctrl"], abs=1e-12)
        assert terms["alive"][i] == info["reward_survive"]
        expected = goal_term(environment_id, info["x_velocity"], tasks[i])
        assert terms["goal"][i] == pytest.approx(expected, abs=1e-9)
    assert 0 < terminated.sum() < N


def goal_term(environment_id: str, velocity: float, task: Array) -> float:
    if "Dir" in environment_id:
        return velocity if task[0] > 0 else -velocity
    return 14.0 - abs(task[0] - velocity) if "Vel" in environment_id else velocity


@pytest.mark.parametrize("environment_id", FAMILIES)
def test_a_whole_episode_does_not_drift_from_gymnasiums(environment_id: str) -> None:
    family = family_of(environment_id, "gymnasium")
    own = next(theirs for ours, theirs in GYMNASIUMS.items() if ours in environment_id)
    env, rng = cast(MujocoEnv, gymnasium.make(own).unwrapped), np.random.default_rng(0)
    tasks = unchanged(family, family.tasks.sample(rng, 1))
    states = family.initial_state(tasks, [rng])
    env.set_state(family.physics.of(states, "qpos")[0], family.physics.of(states, "qvel")[0])
    env.data.qacc_warmstart[:] = 0
    for _ in range(100):
        action = rng.uniform(-1, 1, (1, *(family.action_space.shape or ())))
        states = family.transition(states, action, tasks)
        env.step(action[0])
        np.testing.assert_array_equal(family.physics.of(states, "qpos")[0], env.data.qpos)


@pytest.mark.parametrize("environment_id", FAMILIES)
def test_the_papers_timestep_model_and_reward(environment_id: str) -> None:
    """ProMP's 8 MuJoCo steps a timestep, rand_param_envs' 5 of the walker and 4 of the hopper; the bonus always."""
    family = family_of(environment_id, "paper")
    hopper, physics = "Hopper" in environment_id, family.physics
    skip = 4 if hopper else 5 if "Params" in environment_id else 8
    states, actions, tasks = moves(family, 100)
    after, of = family.transition(states, actions, tasks), physics.of
    moved = (of(after, "qpos") - of(states, "qpos"))[:, 0] / (skip * 0.002)
    bonus, total = 1.0, sum(family.reward_terms(states, actions, after, tasks).values())
    expected = [
        goal_term(environment_id, velocity, task) + bonus - 0.001 * np.linalg.norm(action) ** 2
        for velocity, task, action in zip(moved, tasks, actions, strict=True)
    ]
    np.testing.assert_allclose(total, expected, rtol=1e-9)
    assert family.terminated(after, tasks).any()
    np.testing.assert_allclose(of(after, "time")[:, 0] - of(states, "time")[:, 0], skip * 0.002)
    feet = {"foot_geom": 2.0} if hopper else {"foot_geom": 0.9, "foot_left_geom": 1.9}
    assert {name: physics.model.geom(name).friction[0] for name in feet} == feet


@pytest.mark.parametrize("environment_id", PARAMETERS)
def test_bodies_are_those_of_the_task(environment_id: str) -> None:
    """Against a model whose numbers were changed one by one, by their names, before MuJoCo computed its constants."""
    family = family_of(environment_id, "gymnasium")
    states, actions, ones = moves(family, 40)
    tasks, names = family.tasks.sample(np.random.default_rng(1), 40), family.tasks.names
    after = family.transition(states, actions, tasks)
    for i in range(40):
        model = copy.copy(compile_model(family.robot.xml, timestep=0.002))
        for name, factor in zip(names, tasks[i], strict=True):
            quantity, _, thing = name.removesuffix(" [x]").partition(" of ")
            if quantity == "mass":
                model.body(thing).mass *= factor
            elif quantity == "damping":
                model.joint(thing).damping *= factor
            elif quantity == "friction":
                model.geom(thing).friction[0] *= factor
            else:
                model.body(thing).inertia[int(quantity.split()[1]) - 1] *= factor
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        data.qpos[:], data.qvel[:] = family.physics.of(states, "qpos")[i], family.physics.of(states, "qvel")[i]
        data.qacc_warmstart[:], data.ctrl[:] = family.physics.of(states, "qacc_warmstart")[i], actions[i]
        mujoco.mj_step(model, data, nstep=4)
        np.testing.assert_allclose(family.physics.of(after, "qpos")[i], data.qpos, rtol=0, atol=1e-12)
    assert not np.allclose(after, family.transition(states, actions, ones))


@pytest.mark.parametrize("environment_id", PARAMETERS)
@pytest.mark.parametrize("quantity", ["mass", "inertia", "damping", "friction"])
def test_every_kind_of_factor_is_felt(environment_id: str, quantity: str) -> None:
    family = family_of(environment_id, "paper")
    states, actions, ones = moves(family, 100)
    changed: Any = ones.copy()
    changed[:, [quantity in name for name in family.tasks.names]] = 2.0
    plain, other = (family.transition(states, actions, tasks)[:, :8] for tasks in (ones, changed))
    assert np.abs(plain - other).max() > 1e-4


@pytest.mark.parametrize(
    ("environment_id", "column", "value", "falls"),
    [
        *[("metarl/Walker2DDir-v0", 1, height, height in (0.79, 2.01)) for height in (0.79, 0.81, 1.99, 2.01)],
        *[("metarl/Walker2DDir-v0", 2, pitch, abs(pitch) > 1) for pitch in (-1.01, -0.99, 0.99, 1.01)],
        *[("metarl/HopperParams-v0", 1, height, height < 0.7) for height in (0.69, 0.71, 50.0)],
        *[("metarl/HopperParams-v0", 2, pitch, abs(pitch) > 0.2) for pitch in (-0.21, -0.19, 0.19, 0.21)],
        *[("metarl/HopperParams-v0", 4, angle, abs(angle) > 100) for angle in (-101.0, 99.0)],
        *[("metarl/HopperParams-v0", 7, speed, abs(speed) > 100) for speed in (-99.0, 101.0)],
    ],
)
def test_where_they_have_fallen(environment_id: str, column: int, value: float, falls: bool) -> None:
    """Columns: of the positions, then of the velocities."""
    for dynamics in ("gymnasium", "paper"):
        family = family_of(environment_id, dynamics)
        tasks = unchanged(family, family.tasks.sample(np.random.default_rng(0), 1))
        states = family.initial_state(tasks, [np.random.default_rng(0)])
        assert not family.terminated(states, tasks)[0]
        size = family.physics.of(states, "qpos").shape[1]
        name, index = ("qpos", column) if column < size else ("qvel", column - size)
        family.physics.of(states, name)[0, index] = value
        assert family.terminated(states, tasks)[0] == falls
        bonus = family.reward_terms(states, np.zeros((1, *(family.action_space.shape or ()))), states, tasks)["alive"]
        assert bonus[0] == (0.0 if falls and dynamics == "gymnasium" else 1.0)


def test_where_episodes_begin() -> None:
    for environment_id in FAMILIES:
        family = family_of(environment_id, "gymnasium")
        tasks = family.tasks.sample(np.random.default_rng(0), 500)
        states = family.initial_state(tasks, [np.random.default_rng(i) for i in range(500)])
        noise = family.physics.of(states, "qpos") - family.physics.model.qpos0
        for values in (noise, family.physics.of(states, "qvel")):
            assert np.abs(values).max() <= 0.005
            assert values.std() == pytest.approx(0.005 / np.sqrt(3), rel=0.05)


def test_compact_observations_are_scaled_and_raw_ones_clipped() -> None:
    for environment_id in FAMILIES:
        raw, compact = (cast(Locomotion, make_family(environment_id, observation=kind)) for kind in ("raw", "compact"))
        tasks = raw.tasks.sample(np.random.default_rng(0), 1)
        states = raw.initial_state(tasks, [np.random.default_rng(0)])
        velocities = raw.physics.of(states, "qvel")
        velocities[:] = np.linspace(-20, 20, velocities.shape[1])
        position = raw.physics.of(states, "qpos")[:, 1:]
        np.testing.assert_array_equal(raw.observe(states, tasks), np.hstack([position, velocities.clip(-10, 10)]))
        np.testing.assert_array_equal(compact.observe(states, tasks), np.hstack([position, 0.2 * velocities]))
