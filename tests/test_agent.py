"""metarl as a library: a run's policy, adapted to a task of one's own, in one's own environment."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from built_from_config import make_env, make_problem
from examples.pendulum import GravityPendulum
from gymnasium.vector import AutoresetMode
from scripts import ROOT, TOY, run

import metarl
from metarl import arguments, envs
from metarl.envs.navigation import Navigation2D
from metarl.experiments.presets.published import evaluation_tasks
from metarl.rl.problem import MetaRL
from metarl.training.evaluation import evaluate
from metarl.training.run_directory import read_config

PAPER = ROOT / "experiments" / "results" / "navigation-paper" / "maml-seed1"


def test_an_agent_finds_a_goal_of_ones_own() -> None:
    agent = metarl.load_agent(PAPER)
    vector = gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=20, horizon=100, reward="distance")
    adapted = agent.adapt(vector, [0.4, -0.3], gradient_steps=2)
    assert len(adapted.returns) == 3
    assert adapted.returns[2] > -8 > -15 > adapted.returns[0]
    env = gymnasium.make("metarl/Navigation2D-v0", horizon=100, reward="distance")
    observation, info = env.reset(seed=0, options={"task": np.array([0.4, -0.3])})
    for _ in range(30):
        observation, _, terminated, truncated, info = env.step(adapted.act(observation))
        if terminated or truncated:
            break
    assert info["achieved"] < 0.1
    assert agent.returns == ()  # which is as it was


def test_it_adapts_as_its_runs_evaluation_does(trained: Path) -> None:
    agent = metarl.load_agent(trained)
    problem = make_problem(agent.config)
    assert isinstance(problem, MetaRL)
    task = evaluation_tasks(agent.config, problem)[:1]
    expected = evaluate(problem, agent.theta, agent.config, task).scores["average_return"][:, 0]
    env = make_env(agent.config, agent.problem.settings.evaluation_episodes)
    adapted = agent.adapt(env, task[0], gradient_steps=agent.config.test_steps, seed=agent.config.seed)
    np.testing.assert_allclose(adapted.returns, expected, rtol=1e-6)
    again = agent.adapt(
        agent.make_vec(env.num_envs), task[0], gradient_steps=agent.config.test_steps, seed=agent.config.seed
    )
    assert again.returns == adapted.returns


def test_every_environment_plays_one_episode_whatever_the_run_counted() -> None:
    agent = metarl.load_agent(PAPER)
    assert read_config(PAPER).protocol["counting"] == "timesteps"
    assert agent.config.protocol["counting"] == "episodes"
    vector = gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=5, horizon=100, reward="distance")
    steps, step = [], vector.step
    vector.step = lambda actions: steps.append(len(actions)) or step(actions)
    adapted = agent.adapt(vector, [0.4, -0.3], gradient_steps=3)
    assert len(adapted.returns) == 4
    assert len(steps) <= 400


def test_a_policy_that_diverges_is_named(trained: Path) -> None:
    agent = metarl.load_agent(trained)
    broken = dataclasses.replace(agent, theta={name: leaf * np.nan for name, leaf in agent.theta.items()})
    env = make_env(agent.config, 2)
    with pytest.raises(ValueError, match="the policy diverged, or every episode broke down at once"):
        broken.adapt(env, [0.4, -0.3])


def test_actions_are_means_or_samples(trained: Path) -> None:
    agent = metarl.load_agent(trained, "last")
    one, many = agent.act(np.zeros(2)), agent.act(np.zeros((5, 2)))
    assert (one.shape, many.shape) == ((2,), (5, 2))
    np.testing.assert_allclose(many, np.tile(one, (5, 1)))
    samples = agent.act(np.zeros((400, 2)), np.random.default_rng(0))
    assert samples.std() > 0.3
    assert np.abs(samples).max() <= 1


def test_what_an_agent_refuses(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no run"):
        metarl.load_agent(tmp_path)
    with pytest.raises(ValueError, match="checkpoint must be 'best', 'last' or a number of outer steps; got 'first'"):
        metarl.load_agent(trained, "first")
    assert run("train", "sinusoid", "--iterations", "0", "--run-dir", tmp_path / "sine").returncode == 0
    with pytest.raises(ValueError, match="a run of sinusoid, which has no policy"):
        metarl.load_agent(tmp_path / "sine")
    agent, env = metarl.load_agent(trained), envs.TaskVectorEnv(envs.Navigation2D(), 2)
    with pytest.raises(ValueError, match="tasks must have shape"):
        agent.adapt(env, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="gradient_steps must be at least 0; got -1"):
        agent.adapt(env, [0.1, 0.2], gradient_steps=-1)
    oracle = dataclasses.replace(agent, config=dataclasses.replace(agent.config, method="oracle"))
    with pytest.raises(ValueError, match="an oracle knows the task"):
        oracle.adapt(env, [0.1, 0.2])
    assert not hasattr(metarl, "load_agents")


@pytest.mark.parametrize("way", ["save", "pickle"])
def test_an_adapted_agent_outlives_its_program(trained: Path, tmp_path: Path, way: str) -> None:
    agent = metarl.load_agent(trained)
    vector = envs.TaskVectorEnv(Navigation2D(), 3)
    adapted = agent.adapt(vector, [0.4, -0.3])
    if way == "save":
        adapted.save(tmp_path / "agent.pt")
        back = metarl.load_agent(tmp_path / "agent.pt")
    else:
        back = pickle.loads(pickle.dumps(adapted))
        assert back.returns == adapted.returns
    assert back.config == adapted.config
    assert all(torch.equal(back.theta[name], leaf) for name, leaf in adapted.theta.items())
    assert not torch.equal(back.theta["head.weight"], agent.theta["head.weight"])
    np.testing.assert_array_equal(back.act(np.ones(2)), adapted.act(np.ones(2)))
    assert back.adapt(vector, [0.4, -0.3], seed=5).returns == adapted.adapt(vector, [0.4, -0.3], seed=5).returns


def test_actions_are_in_the_units_of_the_runs_environment_and_a_task_may_be_a_number(tmp_path: Path) -> None:
    """The pendulum's torque is in [-2, 2] N m, and its task one gravity."""
    environment = ("--environment", "examples.pendulum:GravityPendulum-v0", "--initial-std", "5")
    assert run("train", "custom", *environment, *TOY, "--run-dir", tmp_path / "run").returncode == 0
    agent = metarl.load_agent(tmp_path / "run")
    env = gymnasium.make("GravityPendulum-v0")
    observation, _ = env.reset(seed=0)
    like = torch.as_tensor(observation, dtype=torch.float32)
    mean = agent.problem.policy.apply(agent.theta, like).mode.numpy(force=True)
    np.testing.assert_allclose(agent.act(observation), 2 * mean.clip(-1, 1), rtol=1e-6)
    samples = agent.act(np.tile(observation, (200, 1)), np.random.default_rng(0))
    assert samples.shape == (200, 1)
    assert (samples.min(), samples.max()) == (-2, 2)
    assert samples[0] in env.action_space
    many = envs.LoopVectorEnv(lambda: gymnasium.make("GravityPendulum-v0"), 2)
    assert agent.adapt(many, 9.8).returns == agent.adapt(many, [9.8]).returns
    disabled = {"autoreset_mode": AutoresetMode.DISABLED}
    theirs = gymnasium.make_vec("GravityPendulum-v0", 2, "sync", vector_kwargs=disabled)
    with pytest.raises(ValueError, match="drops tasks"):
        agent.adapt(theirs, 9.8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "left"}, "a task must be numbers \\[k\\]; got 'left'"),
        ({"task": None}, "a task must be numbers"),
        ({"task": {"goal": 1.0}}, "a task must be numbers"),
        ({"task": [[0.1, 0.2]]}, r"a task must be numbers \[k\]; got \[\[0.1, 0.2\]\] of the shape \[1, 2\]"),
        ({"gradient_steps": 1.5}, "gradient_steps must be a whole number; got 1.5"),
        ({"gradient_steps": -1}, "gradient_steps must be at least 0; got -1"),
        ({"seed": 0.5}, "seed must be a whole number; got 0.5"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
    ],
)
def test_arguments_of_adapt_that_are_none(trained: Path, arguments: dict[str, Any], words: str) -> None:
    everything: dict[str, Any] = {"task": [0.1, 0.2]} | arguments
    with pytest.raises(ValueError, match=words):
        metarl.load_agent(trained).adapt(envs.TaskVectorEnv(Navigation2D(), 2), **everything)


@pytest.mark.parametrize(
    ("observation", "words"),
    [
        ([np.nan, 0.0], "observations must be finite numbers, also as torch.float32; got"),
        (np.array([1e300, 0.0]), "observations must be finite numbers, also as torch.float32"),
        (np.array([1j, 0.0]), "it is no array of real numbers"),
        (np.array([0.0, None]), "it is no array of real numbers"),
        (torch.zeros(2, requires_grad=True), "observations must be of Box.* requires grad"),
    ],
)
def test_an_agent_acts_on_finite_numbers_alone(trained: Path, observation: Any, words: str) -> None:
    """Of nan an action of nan was made, of a complex number the real part was taken."""
    with pytest.raises(ValueError, match=words):
        metarl.load_agent(trained).act(observation)
    with pytest.raises(ValueError, match=r"rng must be a NumPy generator, .*; got 3"):
        metarl.load_agent(trained).act([0.0, 0.0], rng=3)  # pyright: ignore[reportArgumentType]


def test_a_checkpoint_is_chosen_of_a_run_alone(trained: Path, tmp_path: Path) -> None:
    metarl.load_agent(trained).save(tmp_path / "agent.pt")
    with pytest.raises(ValueError, match=r"checkpoint chooses among those of a run directory; .*agent.pt is a file"):
        metarl.load_agent(tmp_path / "agent.pt", "last")
    for other in (True, -1):
        with pytest.raises(ValueError, match=f"must be 'best', 'last' or a number of outer steps; got {other}"):
            metarl.load_agent(trained, other)
    with pytest.raises(ValueError, match="has kept no checkpoint of 7 outer steps: it keeps none"):
        metarl.load_agent(trained, 7)
    with pytest.raises(ValueError, match="there is no such directory"):
        metarl.load_agent(tmp_path / "navigatoin")
    with pytest.raises(ValueError, match=rf"there is no config.json in it; in it, {trained.name} holds one"):
        metarl.load_agent(trained.parent)


@pytest.mark.parametrize("path", [None, "", 3, b"run"])
def test_what_is_no_path(trained: Path, path: Any) -> None:
    with pytest.raises(ValueError, match="place must be a path; got"):
        metarl.load_agent(path)
    with pytest.raises(ValueError, match="path must be a path; got"):
        metarl.load_agent(trained).save(path)


@pytest.mark.parametrize("env", [None, "metarl/Navigation2D-v0", [1, 2], gymnasium.make("metarl/Navigation2D-v0")])
def test_what_is_no_vector_environment(trained: Path, env: Any) -> None:
    with pytest.raises(ValueError, match=r"rollouts need a vector environment, .*; got "):
        metarl.load_agent(trained).adapt(env, [0.1, 0.2])


@pytest.mark.parametrize("count", [0, -1, 2.5, "2", None, True])
def test_numbers_of_environments_that_are_none(trained: Path, count: Any) -> None:
    with pytest.raises(ValueError, match="num_envs must be "):
        metarl.load_agent(trained).make_vec(count)
    with pytest.raises(ValueError, match="num_envs must be "):
        envs.TaskVectorEnv(Navigation2D(), count)


def test_environments_that_there_is_no_room_for(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand million of them filled the memory, until the system ended the process, or another one."""
    monkeypatch.setattr(arguments, "memory", lambda: 2**30)
    agent = metarl.load_agent(trained)
    right = r"num_envs 1048577: so many environments need 1 GiB of memory at least; there are 1 GiB"
    for make in (agent.make_vec, lambda count: envs.LoopVectorEnv(GravityPendulum, count)):
        with pytest.raises(ValueError, match=right):
            make(2**20 + 1)
    with pytest.raises(ValueError, match="num_envs 1000000000: so many environments need 954 GiB"):
        gymnasium.make_vec("metarl/Navigation2D-v0", 10**9)
    with pytest.raises(ValueError, match="tasks must be at most 100,000,000; got 1000000000"):
        metarl.evaluate(agent.problem, agent.theta, rule=agent.config.test_rule, tasks=10**9)
    with pytest.raises(ValueError, match="num_envs 2000000: so many environments need"):
        metarl.evaluate(agent.problem, agent.theta, rule=agent.config.test_rule, tasks=10**6)
    with pytest.raises(ValueError, match=r"workers 1000: so many processes need 19\.5 GiB of memory at least"):
        envs.LoopVectorEnv(GravityPendulum, 1000, workers=10**9)


def test_observations_are_arrays_of_any_strides(trained: Path) -> None:
    """Torch takes none with negative strides, and warns of those that may not be written."""
    agent = metarl.load_agent(trained)
    rows = np.array([[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_array_equal(agent.act(rows[::-1]), agent.act(rows)[::-1])
    rows.flags.writeable = False
    np.testing.assert_array_equal(agent.act(rows[0]), agent.act([0.1, 0.2]))


def test_threads_do_not_share_environments(trained: Path) -> None:
    """Both adapted to a mixture of the other's episodes and their own."""
    agent = metarl.load_agent(trained)
    shared = agent.make_vec(2)
    step = shared.step
    refusals = []

    def interfering(actions: Any) -> Any:
        if not refusals:
            with pytest.raises(ValueError, match="is played by another thread: give every thread environments") as told:
                agent.adapt(shared, [0.1, 0.2])
            refusals.append(told)
        return step(actions)

    shared.step = interfering
    expected = agent.adapt(agent.make_vec(2), [0.1, 0.2]).returns
    assert agent.adapt(shared, [0.1, 0.2]).returns == expected
    assert refusals
    assert agent.adapt(shared, [0.1, 0.2]).returns == expected
