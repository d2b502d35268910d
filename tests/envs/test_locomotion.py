"""Half-cheetah and ant against Gymnasium's own environments, and against MuJoCo asked by another route."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any, cast

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import MujocoEnv

from metarl import envs
from metarl.arrays import Array
from metarl.envs import ENVIRONMENTS, Locomotion, make_family
from metarl.envs.physics.models import ASSETS, compile_model
from metarl.envs.physics.mujoco_threads import MujocoThreads
from metarl.envs.robots.ant import PAPER, AntDir

OURS = [name for name in ENVIRONMENTS.names if name.startswith("metarl/")]
LOCOMOTION = sorted(name for name in OURS if issubclass(ENVIRONMENTS.find(name), Locomotion))
PAPERS = [name for name in LOCOMOTION if "Cheetah" in name or "Ant" in name]  # the robots of Finn et al. 2017
SAME_PHYSICS = [name for name in PAPERS if "Mass" not in name]  # as Gymnasium's own
STATES = 1000


def vector(environment_id: str, n: int, **options: Any) -> envs.TaskVectorEnv:
    return cast(envs.TaskVectorEnv, gymnasium.make_vec(environment_id, num_envs=n, **options))


def reference(environment_id: str) -> MujocoEnv:
    """Gymnasium's environment with the paper's weights of the costs."""
    if "Cheetah" in environment_id:
        return cast(MujocoEnv, gymnasium.make("HalfCheetah-v5", ctrl_cost_weight=0.05).unwrapped)
    options: dict[str, Any] = {"ctrl_cost_weight": 0.005, "contact_cost_weight": 0.0005, "healthy_reward": 0.05}
    options["exclude_current_positions_from_observation"] = "Goal" not in environment_id
    return cast(MujocoEnv, gymnasium.make("Ant-v5", contact_force_range=(-1, 1), **options).unwrapped)


def visited(environment_id: str, dynamics: str, n: int = STATES) -> tuple[Locomotion, Array, Array, Array]:
    """A family; states [n, S] that random actions reach, in the air, in contact, fallen; tasks and next actions."""
    family, rng = cast(Locomotion, make_family(environment_id, dynamics=dynamics)), np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (n, *cast(tuple, family.action_space.shape)))
    plain = "metarl/AntDir-v1" if "Ant" in environment_id else "metarl/HalfCheetahDir-v0"
    states = reached(plain if environment_id in PAPERS else environment_id, dynamics, n)
    return family, states.copy(), family.tasks.sample(rng, n), actions


@functools.cache
def reached(environment_id: str, dynamics: str, n: int) -> Array:
    family = cast(Locomotion, make_family(environment_id, dynamics=dynamics))
    rng = np.random.default_rng(0)
    tasks = family.tasks.sample(rng, n)
    states = family.initial_state(tasks, [np.random.default_rng(i) for i in range(n)])
    for t in range(25):
        moving = np.arange(n) % 25 >= t  # environments stop after 1 to 25 steps
        actions = np.sign(rng.uniform(-1, 1, (moving.sum(), *cast(tuple, family.action_space.shape))))
        states[moving] = family.transition(states[moving], actions, tasks[moving])
    return states


@pytest.mark.parametrize("environment_id", SAME_PHYSICS)
def test_one_step_equals_gymnasiums(environment_id: str) -> None:
    family, states, tasks, actions = visited(environment_id, "gymnasium")
    env, physics = reference(environment_id), family.physics
    kept = 17 if "Cheetah" in environment_id else 29 if "Goal" in environment_id else 27
    after = family.transition(states, actions, tasks)
    observations, terms = family.observe(after, tasks), family.reward_terms(states, actions, after, tasks)
    terminated = family.terminated(after, tasks)
    # Of every state, to be compared at once: that is quicker than the steps.
    seen, ended, forces = [], [], []
    expected: dict[str, list[float]] = {name: [] for name in terms}
    for i in range(STATES):
        qpos = physics.of(states, "qpos")[i]
        env.set_state(qpos, physics.of(states, "qvel")[i])
        env.data.qacc_warmstart[:] = physics.of(states, "qacc_warmstart")[i]
        observation, _, over, _, info = env.step(actions[i])
        seen.append(observation[:kept])
        ended.append(over)
        expected["control"].append(info["reward_ctrl"])
        # Ant-v5 takes the torso's position from the last stage of RK4, not from the state it returns
        velocity = (env.data.qpos[0] - qpos[0]) / env.dt if "Ant" in environment_id else info["x_velocity"]
        expected["goal"].append(goal_term(environment_id, velocity, env.data.qpos, tasks[i]))
        if "Ant" in environment_id:
            mujoco.mj_forward(env.model, env.data)  # the state that was returned, under the same action
            mujoco.mj_rnePostConstraint(env.model, env.data)
            forces.append(env.data.cfrc_ext.clip(-1, 1))
            expected["contact"].append(-0.0005 * np.square(forces[-1]).sum())
            expected["alive"].append(info["reward_survive"])
    np.testing.assert_allclose(observations[:, :kept], seen, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(terminated, ended)
    if "Ant" in environment_id:
        np.testing.assert_allclose(observations[:, kept:], np.reshape(forces, (STATES, -1))[:, 6:], rtol=0, atol=1e-6)
    assert set(terms) == ({"goal", "control", "contact", "alive"} if "Ant" in environment_id else {"goal", "control"})
    for name, values in expected.items():
        np.testing.assert_allclose(terms[name], values, rtol=0, atol=1e-6)
    assert sum(force.any() for force in forces) > 100 or "Cheetah" in environment_id
    assert terminated.any() or "Cheetah" in environment_id
    assert not terminated.all()


def goal_term(environment_id: str, velocity: float, position: np.ndarray, task: np.ndarray) -> float:
    """The formulas of the paper, written once more."""
    if "Dir" in environment_id:
        return task[0] * velocity
    if "Goal" in environment_id:
        return -abs(position[0] - task[0]) - abs(position[1] - task[1]) + 4
    return -abs(velocity - task[0]) + (1 if "Ant" in environment_id else 0)


@pytest.mark.parametrize("environment_id", SAME_PHYSICS)
def test_a_whole_episode_does_not_drift_from_gymnasiums(environment_id: str) -> None:
    """Bitwise: warm starts are part of the state."""
    family = cast(Locomotion, make_family(environment_id))
    env, rng = reference(environment_id), np.random.default_rng(0)
    tasks = family.tasks.sample(rng, 1)
    states = family.initial_state(tasks, [rng])
    env.set_state(family.physics.of(states, "qpos")[0], family.physics.of(states, "qvel")[0])
    env.data.qacc_warmstart[:] = 0
    for _ in range(family.usual_horizon):
        action = rng.uniform(-1, 1, (1, *cast(tuple, family.action_space.shape)))
        states = family.transition(states, action, tasks)
        env.step(action[0])
        np.testing.assert_array_equal(family.physics.of(states, "qpos")[0], env.data.qpos)
        np.testing.assert_array_equal(family.physics.of(states, "qvel")[0], env.data.qvel)


@pytest.mark.parametrize("environment_id", SAME_PHYSICS)
def test_paper_dynamics_by_an_independent_route(environment_id: str) -> None:
    """MuJoCo's plain model stepped alone; the centre of mass from the bodies, its velocity from their Jacobians."""
    family, states, tasks, actions = visited(environment_id, "paper", n=100)
    ant, physics = "Ant" in environment_id, family.physics
    model = mujoco.MjModel.from_xml_path(str(ASSETS / family.robot.xml))
    model.opt.timestep = 0.02 if ant else 0.01
    if ant:
        model.geom_solref[:], model.geom_solimp[:, :3] = (0.02, 1), (0.8, 0.8, 0.01)
    data = mujoco.MjData(model)
    after = family.transition(states, actions, tasks)
    observations, terms = family.observe(after, tasks), family.reward_terms(states, actions, after, tasks)
    share = model.body_mass / model.body_mass.sum()
    for i in range(len(states)):
        data.qpos[:], data.qvel[:] = physics.of(states, "qpos")[i], physics.of(states, "qvel")[i]
        data.qacc_warmstart[:], data.ctrl[:] = physics.of(states, "qacc_warmstart")[i], actions[i]
        mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        centre, jacobian, velocity = share @ data.xipos, np.zeros((3, model.nv)), np.zeros(3)
        for body in range(model.nbody):
            mujoco.mj_jacBodyCom(model, data, jacobian, None, body)
            velocity += share[body] * (jacobian @ data.qvel)
        cost = (0.005 if ant else 0.05) * np.square(actions[i]).sum()
        expected = [data.qpos, data.qvel, centre] if ant else [data.qpos[1:], data.qvel, centre]
        if ant:
            rotation = np.zeros(9)
            mujoco.mju_quat2Mat(rotation, data.qpos[3:7])
            forces = contact_forces(model, data, centre).clip(-1, 1)
            expected[2:2] = [forces.ravel(), rotation]
            cost += 0.0005 * np.square(forces).sum() - 0.05
            assert family.terminated(after, tasks)[i] == (not 0.2 <= data.qpos[2] <= 1.0)
        np.testing.assert_allclose(observations[i], np.concatenate(expected), rtol=1e-9, atol=1e-9)
        reward = goal_term(environment_id, velocity[0], centre, tasks[i]) - cost
        assert sum(term[i] for term in terms.values()) == pytest.approx(reward, abs=1e-9)


def contact_forces(model: Any, data: Any, centre: np.ndarray) -> np.ndarray:
    """Torque about the centre of mass and force on every body but the world, [bodies, 6], summed over the contacts."""
    total = np.zeros((model.nbody, 6))
    for k in range(data.ncon):
        contact, wrench = data.contact[k], np.zeros(6)
        mujoco.mj_contactForce(model, data, k, wrench)
        frame = contact.frame.reshape(3, 3)  # rows: the contact's axes; the force acts on the second geom
        force, torque = frame.T @ wrench[:3], frame.T @ wrench[3:]
        for geom, sign in ((contact.geom[0], -1.0), (contact.geom[1], 1.0)):
            arm = np.cross(contact.pos - centre, force)
            total[model.geom_bodyid[geom]] += sign * np.concatenate([torque + arm, force])
    total[0] = 0.0
    return total


def test_the_authors_contacts_let_fewer_ants_fall() -> None:
    """Under random actions of std 1, over 1500 episodes, 47 % ended early with the authors', 56 % with Gymnasium's."""
    stiff = type("Stiff", (AntDir,), {"robots": {"paper": dataclasses.replace(PAPER, contacts=None)}})
    shares = []
    for family in (AntDir(dynamics="paper"), stiff(dynamics="paper")):
        env, rng = envs.TaskVectorEnv(family, 300, horizon=200), np.random.default_rng(0)
        env.reset(seed=0)
        steps = [env.step(rng.standard_normal((300, 8))) for _ in range(200)]
        shares.append(steps[-1][2].mean())
    assert shares[0] == pytest.approx(0.47, abs=0.06)
    assert shares[1] == pytest.approx(0.56, abs=0.06)
    assert shares[1] > shares[0] + 0.04
    model = AntDir(dynamics="paper").physics.model
    np.testing.assert_array_equal(model.geom_solref, np.tile([0.02, 1.0], (model.ngeom, 1)))
    np.testing.assert_array_equal(model.geom_solimp[:, :3], np.tile([0.8, 0.8, 0.01], (model.ngeom, 1)))


@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_where_episodes_begin(dynamics: str) -> None:
    n = 2000
    for environment_id, pose in (("metarl/HalfCheetahVel-v0", np.zeros(9)), ("metarl/AntVel-v1", None)):
        env = vector(environment_id, n, dynamics=dynamics)
        env.reset(seed=0)
        physics = cast(Locomotion, env.process).physics
        qpos, qvel = physics.of(env.states, "qpos"), physics.of(env.states, "qvel")
        if pose is None:
            bent = np.array([0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1.0])
            pose = bent if dynamics == "paper" else np.array([0, 0, 0.75, 1, *[0] * 11])
        noise = qpos - pose
        assert noise.std() == pytest.approx(0.01 if dynamics == "paper" else 0.1 / np.sqrt(3), rel=0.03)
        assert np.abs(noise).max() <= (0.1 if dynamics == "gymnasium" else 0.06)
        assert qvel.std() == pytest.approx(0.1, rel=0.03)
        assert np.abs(qvel).max() > 0.3


@pytest.mark.parametrize("environment_id", LOCOMOTION)
@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_the_number_of_threads_changes_nothing(environment_id: str, dynamics: str) -> None:
    def trajectory(threads: int) -> list[np.ndarray]:
        env = vector(environment_id, 12, dynamics=dynamics, threads=threads)
        env.reset(seed=3)
        rng = np.random.default_rng(0)
        return [env.step(rng.uniform(-1, 1, cast(tuple, env.action_space.shape)))[0] for _ in range(30)]

    for one, three in zip(trajectory(1), trajectory(3), strict=True):
        np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("environment_id", LOCOMOTION)
@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_a_step_depends_on_its_arguments_alone(environment_id: str, dynamics: str) -> None:
    """The batch behind it is scratch: other rows, in another order, after other states, give the same bits."""
    family, states, tasks, actions = visited(environment_id, dynamics, n=40)
    expected = family.transition(states, actions, tasks)
    some = np.random.default_rng(1).permutation(40)[:17]
    np.testing.assert_array_equal(family.transition(states[some], actions[some], tasks[some]), expected[some])
    np.testing.assert_array_equal(family.transition(states, actions, tasks), expected)
    further = family.transition(expected, actions, tasks)  # goes on from what the batch has computed
    fresh = cast(Locomotion, make_family(environment_id, dynamics=dynamics)).transition(expected, actions, tasks)
    np.testing.assert_array_equal(further, fresh)


def test_parameters_of_one_step_do_not_stay_for_the_next() -> None:
    family, states, _, actions = visited("metarl/HalfCheetahDir-v0", "paper", n=5)
    physics = family.physics
    plain = physics.step(states, actions)
    heavy = physics.step(states, actions, {"body_mass": np.tile(1.5 * physics.model.body_mass, (5, 1))})
    assert not np.array_equal(heavy, plain)
    np.testing.assert_array_equal(physics.step(states, actions), plain)


def test_masses_are_those_of_the_task() -> None:
    """Against a model whose masses and inertias were changed before MuJoCo compiled its constants."""
    family, states, tasks, actions = visited("metarl/HalfCheetahMass-v0", "gymnasium", n=20)
    after = family.transition(states, actions, tasks)
    for i in range(20):
        model = copy.copy(compile_model("half_cheetah.xml"))
        model.body_mass[1:] *= tasks[i]
        model.body_inertia[1:] *= tasks[i, :, None]
        data = mujoco.MjData(model)
        mujoco.mj_setConst(model, data)
        data.qpos[:], data.qvel[:] = family.physics.of(states, "qpos")[i], family.physics.of(states, "qvel")[i]
        data.qacc_warmstart[:], data.ctrl[:] = family.physics.of(states, "qacc_warmstart")[i], actions[i]
        mujoco.mj_step(model, data, nstep=5)
        np.testing.assert_array_equal(family.physics.of(after, "qpos")[i], data.qpos)
    ones = family.transition(states, actions, np.ones_like(tasks))
    plain = cast(Locomotion, make_family("metarl/HalfCheetahDir-v0")).transition(states, actions, np.ones((20, 1)))
    np.testing.assert_array_equal(ones, plain)
    assert not np.array_equal(ones, after)


@pytest.mark.parametrize("environment_id", ["metarl/HalfCheetahVel-v0", "metarl/AntVel-v1"])
@pytest.mark.parametrize("dynamics", ["gymnasium", "paper"])
def test_a_broken_simulation_ends_its_episode_and_is_reported(
    environment_id: str,
    dynamics: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    env = vector(environment_id, 3, dynamics=dynamics)
    still = np.zeros(cast(tuple, env.action_space.shape))
    env.reset(seed=0)
    states = env.states
    cast(Locomotion, env.process).physics.of(states, "qvel")[1] = 1e11  # beyond what MuJoCo simulates
    env._states = states
    observations, _, terminated, truncated, info = env.step(still)
    np.testing.assert_array_equal(info["diverged"], [False, True, False])
    np.testing.assert_array_equal(terminated, [False, True, False])
    assert not truncated.any()
    assert np.isfinite(observations).all()
    again = env.step(still)
    np.testing.assert_array_equal(again[4]["diverged"], [False, True, False])
    assert again[1][1] == 0
    assert not list(tmp_path.iterdir())  # MuJoCo's log file
    assert capfd.readouterr() == ("", "")


def test_achieved_is_the_mean_velocity_or_the_distance() -> None:
    env = vector("metarl/HalfCheetahDir-v0", 2)
    env.reset(seed=0, options={"tasks": [[1.0], [-1.0]]})
    start = env.states[:, 1]
    rng = np.random.default_rng(0)
    info = [env.step(rng.uniform(-1, 1, (2, 6)))[4] for _ in range(20)][-1]
    np.testing.assert_allclose(info["achieved"], [1, -1] * (env.states[:, 1] - start) / 1.0)  # 20 x 0.05 s
    ant = vector("metarl/AntGoal-v2", 1)
    _, info = ant.reset(seed=0, options={"tasks": [[2.0, -1.0]]})
    np.testing.assert_allclose(info["achieved"], np.abs(ant.states[:, 1:3] - [2, -1]).sum(1))


@pytest.mark.parametrize("environment_id", PAPERS)
def test_compact_observations(environment_id: str) -> None:
    """Positions and velocities of Gymnasium's dynamics, the velocities times 0.2, under both kinds."""
    env = vector(environment_id, 4)
    raw, _ = env.reset(seed=0)
    compact, _ = vector(environment_id, 4, observation="compact").reset(seed=0)
    start, stop = (8, 17) if "Cheetah" in environment_id else (15, 29) if "Goal" in environment_id else (13, 27)
    expected = raw[:, :stop].copy()
    expected[:, start:] *= 0.2
    np.testing.assert_allclose(compact, expected, rtol=1e-15)
    paper, _ = vector(environment_id, 4, observation="compact", dynamics="paper").reset(seed=0)
    assert paper.shape == compact.shape


@pytest.mark.parametrize("observation", ["raw", "compact"])
def test_an_ant_that_goes_to_a_place_sees_where_it_is(observation: str) -> None:
    """x and y, and then what other ants see; it could not know where to stop."""
    for dynamics in ("gymnasium", "paper"):
        names = ("metarl/AntGoal-v2", "metarl/AntDir-v1")
        goal, other = (make_family(name, dynamics=dynamics, observation=observation) for name in names)
        tasks = np.zeros((3, 2))
        states = goal.initial_state(tasks, [np.random.default_rng(i) for i in range(3)])
        seen = goal.observe(states, tasks)
        np.testing.assert_array_equal(seen[:, :2], states[:, 1:3])
        others = other.observe(states, tasks[:, :1])
        np.testing.assert_array_equal(seen[:, seen.shape[1] - others.shape[1] :], others)


def test_mistakes(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="dynamics must be 'gymnasium' or 'paper'; got 'lunar'"):
        make_family("metarl/AntDir-v1", dynamics="lunar")
    with pytest.raises(ValueError, match="observation must be 'raw' or 'compact'; got 'pixels'"):
        make_family("metarl/AntDir-v1", observation="pixels")
    with pytest.raises(ValueError, match=r"a task \(direction \(1 or -1\)\) must be 1 or -1; got \[0.3\]"):
        vector("metarl/AntDir-v1", 1).reset(options={"tasks": [[0.3]]})
    with pytest.raises(ValueError, match="threads must be at least 0; got -1"):
        MujocoThreads("ant.xml", threads=-1)
    with pytest.raises(ValueError, match="frame_skip must be at least 1; got 0"):
        MujocoThreads("ant.xml", frame_skip=0)
    with pytest.raises(ValueError, match=r"timestep must be positive; got -1"):
        MujocoThreads("ant.xml", timestep=-1)
    with pytest.raises(ValueError, match=r"controls must have shape \(2, 8\); got \(1, 8\)"):
        physics = MujocoThreads("ant.xml")
        physics.step(physics.start(np.zeros((2, 15)), np.zeros((2, 14))), np.zeros((1, 8)))
    with pytest.raises(ValueError, match="cannot measure 'heat': choose from subtree_com"):
        MujocoThreads("ant.xml", measured={"heat": None})
    with pytest.raises(ValueError, match=r"there is no body 'tail' in ant.xml"):
        MujocoThreads("ant.xml", measured={"xmat": "tail"})
    (tmp_path / "broken.xml").write_text("<mujoco><worldbody><body><geom type='teapot'/></body></worldbody></mujoco>")
    with pytest.raises(ValueError, match=r"broken.xml is not a model that MuJoCo compiles: (.*teapot|.*invalid)"):
        MujocoThreads(str(tmp_path / "broken.xml"))
    (tmp_path / "cut.xml").write_text("<mujoco>")
    with pytest.raises(ValueError, match=r"cut.xml is not a model that MuJoCo compiles: .*XML"):
        MujocoThreads(str(tmp_path / "cut.xml"))
    with pytest.raises(ValueError, match=r"unicorn.xml is not a model that MuJoCo compiles"):
        MujocoThreads("unicorn.xml")
