"""The humanoid against Gymnasium's own, and its rewards by formulas written once more."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

from metarl.arrays import Array
from metarl.envs import Locomotion, make_family

N = 60


def moves(family: Locomotion) -> tuple[Array, Array, Array]:
    """States that strong random actions reach after 0 to 59 timesteps, some of them fallen; next actions; tasks."""
    rng = np.random.default_rng(0)
    tasks = family.tasks.sample(rng, N)
    states = family.initial_state(tasks, [np.random.default_rng(i) for i in range(N)])
    for t in range(N):
        moving = np.arange(N) > t
        actions = np.sign(rng.uniform(-1, 1, (moving.sum(), 17)))
        states[moving] = family.transition(states[moving], actions, tasks[moving])
    return states, rng.uniform(-1, 1, (N, 17)), tasks


def centre(env: MujocoEnv) -> float:
    """x of the centre of mass, from the bodies."""
    return env.model.body_mass @ env.data.xipos[:, 0] / env.model.body_mass.sum()


@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_one_step_equals_gymnasiums(dynamics: str) -> None:
    """What is measured, at the state that was returned and under the same controls."""
    family = cast(Locomotion, make_family("metarl/HumanoidDir-v0", dynamics=dynamics))
    states, actions, tasks = moves(family)
    env, physics = cast(Any, gymnasium.make("Humanoid-v5").unwrapped), family.physics
    assert physics.seconds_per_step == pytest.approx(env.dt)
    after = family.transition(states, actions, tasks)
    observations, terms = family.observe(after, tasks), family.reward_terms(states, actions, after, tasks)
    terminated, contacts, world = family.terminated(after, tasks), 0, int(dynamics == "gymnasium")
    for i in range(N):
        env.set_state(physics.of(states, "qpos")[i], physics.of(states, "qvel")[i])
        begun = centre(env)
        env.data.qacc_warmstart[:] = physics.of(states, "qacc_warmstart")[i]
        seen, _, ended, _, info = env.step(0.4 * actions[i])
        np.testing.assert_allclose(observations[i, :45], seen[:45], rtol=0, atol=1e-9)
        assert terminated[i] == ended
        assert terms["control"][i] == pytest.approx(info["reward_ctrl"])
        mujoco.mj_forward(env.model, env.data)
        mujoco.mj_rnePostConstraint(env.model, env.data)
        assert terms["goal"][i] == pytest.approx(1.25 * tasks[i, 0] * (centre(env) - begun) / 0.015, abs=1e-9)
        data = env.data
        measured = [data.cinert[world:], data.cvel[world:], data.qfrc_actuator[6 * world :], data.cfrc_ext[world:]]
        np.testing.assert_allclose(observations[i, 45:], np.concatenate([part.ravel() for part in measured]), atol=1e-6)
        cost = min(10.0, 5e-7 * np.linalg.norm(data.cfrc_ext) ** 2)
        contacts += cost > 0
        assert terms["contact"][i] == pytest.approx(-cost, abs=1e-9)
        assert terms["alive"][i] == (0.0 if ended and dynamics == "gymnasium" else 5.0)
    assert observations.shape[1] == (348 if dynamics == "gymnasium" else 376)
    assert 0 < terminated.sum() < N
    assert contacts > 5


def test_strong_contacts_cost_ten_at_most() -> None:
    family = cast(Locomotion, make_family("metarl/HumanoidDir-v0"))
    states, actions, tasks = moves(family)
    family.physics.of(states, "cfrc_ext")[0, 10] = 1e5
    assert family.reward_terms(states, actions, states, tasks)["contact"][0] == -10.0


def test_a_whole_episode_does_not_drift_from_gymnasiums() -> None:
    family, rng = cast(Locomotion, make_family("metarl/HumanoidDir-v0")), np.random.default_rng(0)
    env = cast(MujocoEnv, gymnasium.make("Humanoid-v5").unwrapped)
    tasks = family.tasks.sample(rng, 1)
    states = family.initial_state(tasks, [rng])
    noise = family.physics.of(states, "qpos") - family.physics.model.qpos0
    assert 0.005 < np.abs(noise).max() <= 0.01
    env.set_state(family.physics.of(states, "qpos")[0], family.physics.of(states, "qvel")[0])
    env.data.qacc_warmstart[:] = 0
    for _ in range(50):
        action = rng.uniform(-1, 1, (1, 17))
        states = family.transition(states, action, tasks)
        env.step(0.4 * action[0])
        np.testing.assert_allclose(family.physics.of(states, "qpos")[0], env.data.qpos, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_compact_observations_are_heights_angles_and_scaled_velocities(dynamics: str) -> None:
    raw, compact = (
        cast(Locomotion, make_family("metarl/HumanoidDir-v0", observation=kind, dynamics=dynamics))
        for kind in ("raw", "compact")
    )
    tasks = raw.tasks.sample(np.random.default_rng(0), 2)
    states = raw.initial_state(tasks, [np.random.default_rng(i) for i in range(2)])
    expected = raw.observe(states, tasks)[:, :45]
    expected[:, 22:] *= 0.2
    np.testing.assert_allclose(compact.observe(states, tasks), expected, rtol=1e-15)


@pytest.mark.parametrize(("height", "falls"), [(0.99, True), (1.01, False), (1.99, False), (2.01, True)])
def test_the_height_at_which_a_humanoid_has_fallen(height: float, falls: bool) -> None:
    family = cast(Locomotion, make_family("metarl/HumanoidDir-v0"))
    tasks = np.ones((1, 1))
    states = family.initial_state(tasks, [np.random.default_rng(0)])
    family.physics.of(states, "qpos")[0, 2] = height
    assert family.terminated(states, tasks).tolist() == [falls]
