"""`--device` is one flag for everything: whole iterations on torch's device "meta", whose tensors have no values.

What copies to the host, or mixes devices, raises. The few numbers that the host reads of every iteration (losses,
metrics, whether two parameters are equal) are made up here.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from metarl import problems
from metarl.engine.outer import OUTERS
from metarl.experiments.presets.configuration import preset_config
from metarl.training.tree import with_options

SMALL = {"episodes": 3, "horizon": 2, "hidden_sizes": (8,)}
FEW = {"ppo": {"epochs": 2}, "promp": {"epochs": 2}, "trpo": {"cg_iterations": 2, "max_backtracks": 2}}  # repetitions
CASES = [("navigation", {"outer": outer, **SMALL, **FEW.get(outer, {})}) for outer in OUTERS.names]
CASES += [
    ("navigation", {"outer": "trpo", "normalization": "running", "rule": "cavia", **SMALL, **FEW["trpo"]}),
    ("sinusoid", {"compile": False}),
    ("sinusoid", {"compile": False, "rule": "meta-sgd", "inner_steps": 2}),
    ("sinusoid", {"compile": False, "rule": "lslr", "learned_steps": 1}),
]


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without values read as 0.5, are true, and equal each other."""
    monkeypatch.setattr(problems, "require_device", lambda device: None)
    for name, value in (("item", 0.5), ("__bool__", True), ("__float__", 0.5)):
        own = getattr(Tensor, name)
        monkeypatch.setattr(Tensor, name, lambda self, own=own, value=value: value if self.is_meta else own(self))
    monkeypatch.setattr(torch, "equal", lambda one, other: True)


@pytest.mark.usefixtures("made_up")
@pytest.mark.parametrize(("preset", "options"), CASES)
def test_iterations_stay_on_their_device(preset: str, options: dict[str, Any]) -> None:
    config = with_options(preset_config(preset), {"device": "meta", "tasks": 4, **options})
    problem: Any = config.problem.build(config.setting())
    outer = config.outer.build()
    theta = problem.initial_parameters(0)
    state = outer.init(theta)
    for index in range(2):
        objective, _ = problem.collect(theta, index)
        theta, state, _ = outer.step(theta, state, objective)
        theta = problem.refresh(theta, objective)
    assert {leaf.device.type for leaf in theta.values()} == {"meta"}
