"""Configurations: presets, what every option must have, files of all versions, values that are refused."""

import json
import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import ROOT
from toy import TOY

from metarl.experiments.presets.configuration import PRESETS, preset_config
from metarl.experiments.presets.published import published_tasks
from metarl.parts import options
from metarl.problems import require_device
from metarl.training.config import Config
from metarl.training.run_directory import read_config
from metarl.training.tree import flat, leaves, registries, with_options

REINFORCEMENT = [name for name, preset in PRESETS.items() if preset.options["problem"] == "reinforcement"]
ENVIRONMENT = {"custom": {"environment": "metarl/Navigation2D-v0"}}  # which is the user's to name


def preset(name: str) -> Config:
    return preset_config(name, choices=ENVIRONMENT.get(name))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_named_and_survive_json(name: str) -> None:
    config = preset(name)
    assert config.preset == name
    assert PRESETS[name].description
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def every_tree() -> list[Config]:
    """The presets, and with each part of each registry in the place of a preset's own."""
    trees = [preset(name) for name in PRESETS]
    for config in (preset("navigation"), preset("sinusoid"), preset("omniglot-5way-1shot")):
        for name, registry in registries(config).items():
            for other in registry.names:
                if name != "problem" and ":" not in other:
                    try:
                        trees.append(with_options(config, {name: other}))
                    except ValueError as error:  # such as images for a regression's network
                        assert str(error)
    return trees


def test_every_option_explains_itself_and_no_two_share_a_flag() -> None:
    seen = set()
    for config in every_tree():
        flat(config)  # raises where two share a name
        for leaf in leaves(config):
            seen.add(leaf.option.name)
            assert leaf.option.words.endswith("."), f"{type(leaf.owner).__name__}.{leaf.option.name}"
    assert len(seen) > 60


@pytest.mark.parametrize("name", ["navigation", "omniglot-5way-1shot"])
def test_any_parts_can_be_chosen_together(name: str) -> None:
    """No option of a part has the name of an option of another choice's part: `--outer ppo --normalization running`."""
    choices: dict[str, str] = {}
    for choice, registry in registries(preset(name)).items():
        own = {option.name for part in registry.names for option in options(registry.find(part))}
        assert {option: choices.setdefault(option, choice) for option in own} == dict.fromkeys(own, choice)


def test_the_plain_presets_of_trpo_share_the_fast_outer_step() -> None:
    plain = {name: flat(preset(name)) for name in REINFORCEMENT if not name.endswith("-paper")}
    steps = {
        name: (values["curvature"], values["curvature_fraction"], values["cg_iterations"])
        for name, values in plain.items()
        if values["outer"] == "trpo"
    }
    assert steps == dict.fromkeys(["navigation", "ml1-reach", "custom"], ("gauss_newton", 0.1, 5))


def test_defaults_that_papers_name() -> None:
    adam = flat(preset("sinusoid"))
    assert (adam["learning_rate"], adam["adam_beta1"], adam["adam_beta2"], adam["adam_epsilon"]) == (
        *(1e-3, 0.9, 0.999, 1e-8),  # Kingma and Ba 2015, and Finn et al. 2017
    )
    assert (adam["tasks"], adam["inner_steps"], adam["hidden_sizes"]) == (25, 1, (40, 40))
    trpo = flat(preset("navigation"))
    assert (trpo["backtrack_ratio"], trpo["max_backtracks"], trpo["cg_tolerance"]) == (0.8, 15, 1e-10)
    assert (trpo["max_broken"], trpo["max_nonfinite"], trpo["grace"], trpo["ridge"]) == (0.5, 10, 60.0, 1e-5)


PUBLISHED = {  # environment, tasks, episodes, iterations, max_kl, test step sizes, test episodes; PAPER.md, section 2
    "navigation-paper": ("Navigation2D", 20, 20, 100, 0.01, (0.5, 0.25), 40),
    "cheetah-vel-paper": ("HalfCheetahVel", 40, 10, 475, 0.01, (0.1, 0.05), 20),
    "cheetah-dir-paper": ("HalfCheetahDir", 40, 20, 100, 0.02, (0.1, 0.05), 20),
    "ant-vel-paper": ("AntVel", 40, 20, 375, 0.01, (0.1, 0.05), 20),
    "ant-dir-paper": ("AntDir", 40, 40, 575, 0.01, (0.1, 0.001), 40),
    "ant-goal-paper": ("AntGoal", 40, 20, 500, 0.01, (0.1, 0.05), 20),
}


@pytest.mark.parametrize("name", sorted(name for name in REINFORCEMENT if name.endswith("-paper")))
def test_the_published_runs(name: str) -> None:
    values = flat(preset(name))
    environment = values["environment"].removeprefix("metarl/").rpartition("-v")[0]
    assert PUBLISHED[name] == (
        environment, values["tasks"], values["episodes"], values["iterations"], values["max_kl"],
        values["evaluation_step_sizes"], values["evaluation_episodes"],
    )  # fmt: skip
    assert (values["hidden_sizes"], values["activation"], values["initial_std"]) == ((100, 100), "relu", 1.0)
    assert (values["discount"], values["gae_lambda"], values["inner_steps"]) == (0.99, 1.0, 1)
    assert (values["rule"], values["inner_loss"], values["baseline"]) == ("sgd", "log_prob", "linear_features")
    assert (values["curvature"], values["curvature_fraction"], values["cg_iterations"]) == ("symmetric", 1.0, 10)
    assert (values["curvature_tasks"], values["cg_damping"], values["evaluation_tasks"]) == (1.0, 1e-5, 40)
    assert values["evaluation_counting"] == "timesteps"
    assert values["published_tasks"] is (name != "ant-goal-paper")
    if name == "navigation-paper":
        assert (values["horizon"], values["inner_step_size"], values["reward"]) == (100, 0.5, "distance")
        assert values["evaluation_steps"] == 4
    else:
        assert (values["dynamics"], values["observation"]) == ("paper", "raw")
        assert (values["horizon"], values["inner_step_size"]) == (200, 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 0}, "tasks must be at least 1; got 0"),
        ({"horizon": 0}, "horizon must be at least 1; got 0"),
        ({"iterations": -1}, "iterations must be at least 0; got -1"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"seed": 2**32}, r"seed must be below 2\^32; got 4294967296"),
        ({"inner_step_size": -0.1}, "inner_step_size must be a positive number; got -0.1"),
        ({"max_kl": float("nan")}, "max_kl must be a positive number; got nan"),
        ({"outer": "adam", "adam_beta1": 1.0}, "adam_beta1 must be below 1; got 1.0"),
        ({"outer": "adam", "adam_beta2": 1.0}, "adam_beta2 must be below 1; got 1.0"),
        ({"outer": "adam", "learning_rate": float("inf")}, "learning_rate must be a positive number; got inf"),
        ({"discount": 1.5}, r"discount must be in \[0, 1\]; got 1.5"),
        ({"curvature_fraction": 0.0}, r"curvature_fraction must be in \(0, 1\]; got 0.0"),
        ({"hidden_sizes": (100, 0)}, "hidden_sizes must be a list of values that are each at least 1"),
        ({"evaluation_step_sizes": (0.0,)}, "evaluation_step_sizes must be a list of values that are each a positive"),
        ({"cg_damping": float("inf")}, "cg_damping must be a finite number, at least 0; got inf"),
        ({"initial_std": 1e-9}, "need 0 < min_std <= initial_std"),
        ({"learning_rate": 0.1}, "--learning-rate is an option of outer adam, ppo, promp; outer is trpo here"),
        ({"warp": 9}, "there is no option --warp"),
    ],
)
def test_impossible_values_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        with_options(preset("navigation"), changes)


def test_unknown_and_missing_fields_are_named() -> None:
    document = preset("navigation").to_dict()
    with pytest.raises(ValueError, match="unknown configuration field 'warp'"):
        Config.from_dict(document | {"warp": 9})
    without = {name: value for name, value in document["problem"].items() if name != "environment"}
    with pytest.raises(ValueError, match="configuration field 'environment' of Reinforcement is missing"):
        Config.from_dict(document | {"problem": without})
    with pytest.raises(ValueError, match="configuration field 'outer' of Config is missing"):
        Config.from_dict({name: value for name, value in document.items() if name != "outer"})


FLAT = {  # as version 0.7 wrote it, of its preset cheetah-dir-paper with some changes
    "preset": "cheetah-dir-paper",
    "method": "maml",
    "seed": 3,
    "iterations": 7,
    "device": "cpu",
    "tasks": 5,
    "inner_steps": 2,
    "inner_step_size": 0.3,
    "rule": "meta-sgd",
    "first_order": True,
    "learning_rate": 0.001,
    "evaluation_steps": 3,
    "evaluation_step_sizes": [0.1, 0.05],
    "evaluation_tasks": 40,
    "max_nonfinite": 10,
    "evaluation_checkpoint": "last",
    "validation_tasks": 40,
    "evaluate_every": 0,
    "render_every": 0,
    "checkpoint_every": 1,
    "log_every": 1,
    "problem": "reinforcement",
    "environment": "metarl/HalfCheetahDir-v0",
    "environment_options": {"dynamics": "paper", "observation": "raw"},
    "horizon": 200,
    "episodes": 20,
    "discount": 0.9,
    "gae_lambda": 1.0,
    "hidden_sizes": [8, 4],
    "activation": "tanh",
    "initial_std": 1.0,
    "min_std": 1e-06,
    "inner_loss": "likelihood_ratio",
    "outer": "trpo",
    "max_kl": 0.02,
    "curvature": "forward",
    "curvature_fraction": 1.0,
    "finite_difference_epsilon": 0.002,
    "cg_iterations": 10,
    "cg_damping": 1e-05,
    "evaluation_episodes": 20,
    "evaluation_counting": "timesteps",
    "published_tasks": True,
}


def test_flat_configurations_of_earlier_versions_are_read() -> None:
    values = flat(Config.from_dict(FLAT))
    expected = FLAT | FLAT["environment_options"] | {"curvature_tasks": 1.0}
    for name in ("environment_options", "learning_rate"):  # the latter meant nothing under trpo
        expected.pop(name)
    for name, value in expected.items():
        assert values[name] == (tuple(value) if isinstance(value, list) else value), name
    adam = flat(Config.from_dict(FLAT | {"outer": "adam", "learning_rate": 0.5}))
    assert (adam["outer"], adam["learning_rate"]) == ("adam", 0.5)
    assert "max_kl" not in adam
    with pytest.raises(ValueError, match="there is no option --warp"):
        Config.from_dict(FLAT | {"warp": 1})


def test_shipped_runs_are_read() -> None:
    places = sorted(path.parent for path in (ROOT / "experiments" / "results").rglob("config.json"))
    assert places
    for place in places:
        assert read_config(place).preset


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
@given(st.sampled_from([option.name for option in options(Config)]), PLAIN)
def test_values_of_a_configuration_file(name: str, value: Any) -> None:
    """Whatever JSON has in place of a value: a configuration of the right types, or a ValueError."""
    try:
        config = Config.from_dict(TOY.to_dict() | {name: value})
    except ValueError as error:
        assert str(error)
        return
    for field, kind in typing.get_type_hints(Config).items():
        if kind in (int, str):
            assert type(getattr(config, field)) is kind, f"{field}: {value!r} was taken"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(["horizon", "environment", "policy", "discount", "published_tasks"]), PLAIN)
def test_values_of_a_problem_in_a_configuration_file(name: str, value: Any) -> None:
    document = TOY.to_dict()
    try:
        Config.from_dict(document | {"problem": document["problem"] | {name: value}})
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("first_order", [False, True])
def test_first_order_reaches_the_rule(first_order: bool) -> None:
    assert with_options(TOY, {"first_order": first_order}).training_rule.holds_gradient == first_order


def test_a_device_that_is_not_there_is_refused() -> None:
    require_device("cpu")
    with pytest.raises(ValueError, match="device 'tpu' is not available here"):
        require_device("tpu")
