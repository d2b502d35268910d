"""An environment that has changed since training: one line that names both, wherever it meets a stored policy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from changing import BEFORE, Changing
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from scripts import TOY, refused, run

import metarl
from metarl import envs
from metarl.envs.navigation import Navigation2D
from metarl.randomness import Purpose
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.sampler import rollout
from metarl.rl.spaces import in_words

FLAGS = [*TOY, "--environment", "changing:Changing"]
SEEN, ACTIONS = BEFORE
CHANGES: dict[str, tuple[tuple[Space, Space], str]] = {
    "one observation more": ((Box(-1.0, 1.0, (3,), np.float64), ACTIONS), "Box[2] in [-1, 1] and are of Box[3]"),
    "other bounds of observations": ((Box(-9.0, 9.0, (2,), np.float64), ACTIONS), "and are of Box[2] in [-9, 9]"),
    "another kind of observation": ((Discrete(2), ACTIONS), "Box[2] in [-1, 1] and are of Discrete(2)"),
    "one action more": ((SEEN, Box(-2.0, 2.0, (2,), np.float64)), "Box[1] in [-2, 2] and are of Box[2] in [-2, 2]"),
    "other bounds of actions": ((SEEN, Box(-2.0, 3.0, (1,), np.float64)), "and are of Box[1] in [-2, 3]"),
    "another kind of action": ((SEEN, Discrete(3)), "Box[1] in [-2, 2] and are of Discrete(3)"),
}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs") / "changing"
    result = run("train", "navigation", *FLAGS, "--run-dir", place)
    assert result.returncode == 0, result.stderr
    return place


@pytest.fixture(params=CHANGES)
def changed(request: pytest.FixtureRequest, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment's code is another now. How the error ends."""
    spaces, words = CHANGES[request.param]
    monkeypatch.setattr(Changing, "now", spaces)
    return words


def test_every_command_says_so(run_dir: Path, changed: str, tmp_path: Path) -> None:
    begin = "the environment of this run is not what the policy was trained in: "
    refused(run("evaluate", run_dir), begin, changed)
    refused(run("train", "--run-dir", run_dir, "--resume", "--iterations", "3"), begin, changed)
    refused(run("train", "navigation", *FLAGS, "--run-dir", run_dir, "--resume"), begin, changed)
    refused(run("render", run_dir, "--output", tmp_path / "film.gif"), begin, changed)
    refused(run("demo", run_dir, "--task", "0.5", "--output", tmp_path / "film.gif"), begin, changed)


def test_an_agent_says_so(run_dir: Path, changed: str) -> None:
    agent = metarl.load_agent(run_dir)
    vector = envs.LoopVectorEnv(Changing, 2)
    for use in (lambda: agent.act(np.zeros(2)), lambda: agent.adapt(vector, [0.5])):
        with pytest.raises(ValueError, match="were of") as error:
            use()
        assert changed in str(error.value)


def test_an_agent_refuses_environments_and_observations_of_other_sizes(run_dir: Path) -> None:
    agent = metarl.load_agent(run_dir)
    for change, words in (("one observation more", "are of Box[3]"), ("one action more", "are of Box[2]")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Changing, "now", CHANGES[change][0])
            other = envs.LoopVectorEnv(Changing, 2)
        with pytest.raises(ValueError, match="is not what the policy was trained in") as error:
            agent.adapt(other, [0.5])
        assert words in str(error.value)
    with pytest.raises(ValueError, match=r"must have 2 numbers, as in training .*; got an array of shape \(3,\)"):
        agent.act(np.zeros(3))
    assert agent.act(np.zeros((4, 2))).shape == (4, 1)


def test_runs_that_did_not_note_their_spaces_are_told_by_their_sizes(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of earlier versions: bounds are not known, but the parameters' shapes are."""
    agent = metarl.load_agent(run_dir)
    values = json.loads(json.dumps(agent.config.to_dict()))
    for name in ("observations_in_training", "actions_in_training"):
        assert values["problem"].pop(name)
    old = metarl.Agent(type(agent.config).from_dict(values), agent.theta)
    old.save(tmp_path / "old.pt")
    np.testing.assert_array_equal(metarl.load_agent(tmp_path / "old.pt").act(np.ones(2)), agent.act(np.ones(2)))
    for change in ("one observation more", "one action more"):
        monkeypatch.setattr(Changing, "now", CHANGES[change][0])
        with pytest.raises(ValueError, match=r"other sizes of observations and actions: .* there and .* here"):
            metarl.load_agent(tmp_path / "old.pt").act(np.zeros(2))


def test_parameters_in_python_too(run_dir: Path, tmp_path: Path) -> None:
    agent = metarl.load_agent(run_dir)
    theta = agent.theta | {"log_std": torch.zeros(2)}
    with pytest.raises(ValueError, match=r"log_std is of shape \(2,\) there and of shape \(1,\) here"):
        metarl.evaluate(agent.problem, theta, rule=agent.config.test_rule, tasks=2)


def test_one_more_action_is_not_broadcast() -> None:
    """A policy of one action in an environment of two: rollouts refuse it."""
    space = Box(-1.0, 1.0, (2,), np.float64)
    policy = GaussianMLP(hidden_sizes=(4,)).build(space, Box(-1.0, 1.0, (1,), np.float64))
    theta = {name: leaf[None] for name, leaf in policy.init(torch.Generator().manual_seed(0)).items()}
    env: Any = envs.TaskVectorEnv(Navigation2D(), 2, horizon=3)
    with pytest.raises(ValueError, match=r"the policy's actions have 1 numbers; those of .* must have 2"):
        rollout(env, policy, theta, np.zeros((1, 2)), horizon=3, key=(0, Purpose.TRAINING_ROLLOUTS, 0, 0))


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Box(-1.0, 1.0, (2, 3), np.float32), "Box[2, 3] in [-1, 1]"),
        (Box(np.array([-1, -1, 0]), np.array([1, 1, np.inf]), dtype=np.float64), "Box[3] in 2 x [-1, 1], 1 x [0, inf]"),
        (Discrete(3, start=-1), "Discrete(3) from -1"),
        (MultiDiscrete([2, 3]), "MultiDiscrete([2, 3])"),
        (MultiBinary(4), "MultiBinary(4)"),
        (Dict(a=Discrete(2), b=Tuple([Discrete(3)])), "Dict(a: Discrete(2), b: Tuple(Discrete(3)))"),
    ],
)
def test_spaces_in_words(space: Space, words: str) -> None:
    assert in_words(space) == words


def test_another_environment_at_a_resume_is_told_by_its_name(run_dir: Path) -> None:
    """It is another choice, and no change of the code."""
    resumed = run("train", "--run-dir", run_dir, "--resume", "--environment", "metarl/Navigation2D-v0")
    refused(resumed, "environment is changing:Changing there and metarl/Navigation2D-v0 here")
