import dataclasses
import json
from typing import Any

import pytest

from experiments.presets import PRESETS
from metarl.training.config import Config

NAVIGATION = PRESETS["navigation"][1]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_named_and_survive_json(name: str) -> None:
    description, config = PRESETS[name]
    assert config.preset == name
    assert description
    if name == "custom":  # its environment is the user's to name
        config = dataclasses.replace(config, environment="theirs/Env-v0")
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_every_field_explains_itself() -> None:
    source = (__import__("inspect").getsource(Config)).splitlines()
    for field in dataclasses.fields(Config):
        line = next(i for i, text in enumerate(source) if text.startswith(f"    {field.name}:"))
        assert source[line + 1].lstrip().startswith('"""'), field.name


def test_the_published_navigation_run() -> None:
    paper = PRESETS["navigation-paper"][1]
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
        ({"evaluation_step_sizes": ()}, "evaluation_step_sizes must be a list of positive numbers"),
        ({"cg_damping": float("inf")}, "cg_damping must be a finite number; got inf"),
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
