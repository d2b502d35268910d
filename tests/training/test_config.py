import dataclasses
import inspect
import json
import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import TOY

from metarl.experiments.presets import PRESETS, RL_PRESETS
from metarl.experiments.published import published_tasks
from metarl.training.config import PROBLEMS, Config, RLConfig

NAVIGATION = RL_PRESETS["navigation"][1]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_named_and_survive_json(name: str) -> None:
    description, config = PRESETS[name]
    assert config.preset == name
    assert description
    if name == "custom":  # its environment is the user's to name
        config = dataclasses.replace(config, environment="theirs/Env-v0")
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_explains_itself() -> None:
    for kind in (Config, *PROBLEMS.values()):
        source = inspect.getsource(kind).splitlines()
        for name in inspect.get_annotations(kind):
            line = next(i for i, text in enumerate(source) if text.startswith(f"    {name}:"))
            assert source[line + 1].lstrip().startswith('"""'), name


def test_the_plain_presets_share_the_fast_outer_step() -> None:
    for name, (_, config) in RL_PRESETS.items():
        if not name.endswith("-paper"):
            assert (config.curvature, config.curvature_fraction, config.cg_iterations) == ("gauss_newton", 0.1, 5)


def test_the_published_navigation_run() -> None:
    paper = RL_PRESETS["navigation-paper"][1]
    assert (paper.tasks, paper.episodes, paper.horizon, paper.iterations) == (20, 20, 100, 100)
    assert (paper.inner_step_size, paper.inner_steps, paper.inner_loss) == (0.5, 1, "log_prob")
    assert paper.environment_options == {"reward": "distance"}
    assert (paper.hidden_sizes, paper.activation, paper.initial_std) == ((100, 100), "relu", 1.0)
    assert (paper.max_kl, paper.cg_iterations, paper.cg_damping) == (0.01, 10, 1e-5)
    assert (paper.curvature, paper.curvature_fraction) == ("symmetric", 1.0)
    assert (paper.evaluation_steps, paper.evaluation_tasks, paper.evaluation_episodes) == (4, 40, 40)
    assert paper.evaluation_step_sizes == (0.5, 0.25)
    assert paper.published_tasks
    assert (paper.experiment, paper.run_name) == ("navigation", "navigation-paper-maml-seed1")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 0}, "tasks must be at least 1; got 0"),
        ({"horizon": 0}, "horizon must be at least 1; got 0"),
        ({"iterations": -1}, "iterations must be at least 0; got -1"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"inner_step_size": -0.1}, "inner_step_size must be a positive number; got -0.1"),
        ({"max_kl": float("nan")}, "max_kl must be a positive number; got nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be a positive number; got inf"),
        ({"discount": 1.5}, r"discount must be in \[0, 1\]; got 1.5"),
        ({"curvature_fraction": 0.0}, r"curvature_fraction must be in \(0, 1\]; got 0.0"),
        ({"hidden_sizes": (100, 0)}, "hidden_sizes must be a list of positive numbers"),
        ({"evaluation_step_sizes": (0.0,)}, "evaluation_step_sizes must be a list of positive numbers"),
        ({"cg_damping": float("inf")}, "cg_damping must be a finite number, at least 0; got inf"),
        ({"initial_std": 1e-9}, "initial_std must be at least min_std"),
    ],
)
def test_impossible_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(NAVIGATION, **changes)


def test_unknown_and_missing_fields_are_named() -> None:
    with pytest.raises(ValueError, match="unknown configuration field 'warp'"):
        Config.from_dict(NAVIGATION.to_dict() | {"warp": 9})
    without = {name: value for name, value in NAVIGATION.to_dict().items() if name != "environment"}
    with pytest.raises(ValueError, match="configuration field 'environment' is missing"):
        Config.from_dict(without)


PUBLISHED = {  # environment, tasks, episodes, iterations, max_kl, test step sizes, test episodes; PAPER.md, section 2
    "navigation-paper": ("Navigation2D", 20, 20, 100, 0.01, (0.5, 0.25), 40),
    "cheetah-vel-paper": ("HalfCheetahVel", 40, 10, 475, 0.01, (0.1, 0.05), 20),
    "cheetah-dir-paper": ("HalfCheetahDir", 40, 20, 100, 0.02, (0.1, 0.05), 20),
    "ant-vel-paper": ("AntVel", 40, 20, 375, 0.01, (0.1, 0.05), 20),
    "ant-dir-paper": ("AntDir", 40, 40, 575, 0.01, (0.1, 0.001), 40),
    "ant-goal-paper": ("AntGoal", 40, 20, 500, 0.01, (0.1, 0.05), 20),
}


@pytest.mark.parametrize("name", sorted(name for name in RL_PRESETS if name.endswith("-paper")))
def test_the_published_runs(name: str) -> None:
    config = RL_PRESETS[name][1]
    environment = config.environment.removeprefix("metarl/").removesuffix("-v0")
    assert PUBLISHED[name] == (
        environment, config.tasks, config.episodes, config.iterations, config.max_kl,
        config.evaluation_step_sizes, config.evaluation_episodes,
    )  # fmt: skip
    assert (config.hidden_sizes, config.activation, config.initial_std) == ((100, 100), "relu", 1.0)
    assert (config.discount, config.gae_lambda, config.inner_steps) == (0.99, 1.0, 1)
    assert (config.curvature, config.curvature_fraction, config.cg_iterations) == ("symmetric", 1.0, 10)
    assert config.evaluation_counting == "timesteps"
    if name != "navigation-paper":
        assert config.environment_options == {"dynamics": "paper", "observation": "raw"}
        assert (config.horizon, config.inner_step_size) == (200, 0.1)


def test_published_test_tasks() -> None:
    """Spot values of the authors' draws, and how many directions are backward."""
    np.testing.assert_allclose(published_tasks("cheetah-vel")[:2, 0], [0.834044, 1.440649], atol=1e-6)
    np.testing.assert_allclose(published_tasks("ant-vel")[:2, 0], [1.251066, 2.160973], atol=1e-6)
    assert (published_tasks("cheetah-dir") < 0).sum() == (published_tasks("cheetah-vel") < 1).sum() == 22
    first = np.random.RandomState(2).uniform(0, 3, 40)
    np.testing.assert_array_equal(published_tasks("ant-dir")[:, 0], np.where(first < 1.5, -1, 1))
    with pytest.raises(ValueError, match="no published test tasks for 'ant-goal'"):
        published_tasks("ant-goal")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([field.name for field in dataclasses.fields(RLConfig)]), PLAIN)
def test_values_of_a_configuration_file(name: str, value: Any) -> None:
    """Whatever JSON has in place of a value: a configuration of the right types, or a ValueError."""
    try:
        config = Config.from_dict(TOY.to_dict() | {name: value})
    except ValueError as error:
        assert str(error)
        return
    for field, kind in typing.get_type_hints(RLConfig).items():
        if kind in (int, str):
            assert type(getattr(config, field)) is kind, f"{field}: {value!r} was taken"
