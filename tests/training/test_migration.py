from pathlib import Path

import pytest
import torch

from metarl.experiments.presets.configuration import preset_config
from metarl.training import checkpoint
from metarl.training.callbacks.csv import read_metrics
from metarl.training.config import Config
from metarl.training.migration import dotted_names, format_2
from metarl.training.state import TrainState
from metarl.training.tree import flat, with_options

OLD_AND_NEW = {
    "a policy": (
        "weight0 bias0 weight1 bias1 weight2 bias2 log_std",
        "body.0.weight body.0.bias body.1.weight body.1.bias head.weight head.bias log_std",
    ),
    "a policy of Meta-SGD": (
        (
            "weight0 bias0 weight1 bias1 log_std slow/step_size/weight0 slow/step_size/bias0 slow/step_size/weight1 "
            "slow/step_size/bias1 slow/step_size/log_std"
        ),
        (
            "body.0.weight body.0.bias head.weight head.bias log_std step_size.body.0.weight step_size.body.0.bias "
            "step_size.head.weight step_size.head.bias step_size.log_std"
        ),
    ),
    "a linear network": ("weight0 bias0", "head.weight head.bias"),
    "a network for images": (
        "weight0 slow/shift0 weight1 slow/shift1 weight bias slow/step_size/weight0 slow/step_size/weight",
        (
            "body.0.weight body.0.shift body.1.weight body.1.shift head.weight head.bias step_size.body.0.weight "
            "step_size.head.weight"
        ),
    ),
    "eleven layers": (
        " ".join(f"weight{layer}" for layer in range(11)),
        " ".join([*(f"body.{layer}.weight" for layer in range(10)), "head.weight"]),
    ),
    "a module of a user": ("layers.0.weight layers.0.bias scale", "layers.0.weight layers.0.bias scale"),
}


@pytest.mark.parametrize("kind", OLD_AND_NEW)
def test_old_names_become_dotted_ones(kind: str) -> None:
    old, new = (names.split() for names in OLD_AND_NEW[kind])
    assert list(dotted_names(old).items()) == list(zip(old, new, strict=True))


def test_renamed_options_are_read_under_their_old_names() -> None:
    config = preset_config("navigation", choices={"normalization": "running"})
    stored = with_options(config, {"observation_clip": 3.0}).to_dict()
    part = stored["problem"]["normalization"]
    part["clip"] = part.pop("observation_clip")
    assert flat(Config.from_dict(stored))["observation_clip"] == 3.0


def test_an_old_checkpoint_keeps_all_but_its_names() -> None:
    theta = {"weight0": torch.ones(2), "bias0": torch.zeros(1)}
    state = {"mean": torch.ones(3)}
    content = format_2({"theta": theta, "outer_state": state, "iteration": 3})
    assert list(content["theta"]) == ["head.weight", "head.bias"]
    assert content["theta"]["head.weight"] is theta["weight0"]
    assert (content["outer_state"], content["iteration"]) == (state, 3)


def test_checkpoints_of_format_1_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theta = {"weight0": torch.ones(2, 2), "slow/shift0": torch.zeros(2), "weight": torch.ones(1, 2)}
    state = TrainState(5, theta, {"mean": torch.arange(8.0)}, best_score=0.5)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", "metarl-checkpoint-1")
        checkpoint.save(tmp_path / "old.pt", state)
    back = checkpoint.load(tmp_path / "old.pt")
    assert list(back.theta) == ["body.0.weight", "body.0.shift", "head.weight"]
    assert (back.iteration, back.best_score) == (5, 0.5)
    assert torch.equal(back.outer_state["mean"], state.outer_state["mean"])


def test_parameters_of_today_that_are_named_as_of_old_stay(tmp_path: Path) -> None:
    """A module of one linear layer has a weight and a bias."""
    checkpoint.save(tmp_path / "new.pt", TrainState(5, {"weight": torch.ones(2)}, {}, best_score=0.5))
    assert list(checkpoint.load(tmp_path / "new.pt").theta) == ["weight"]


def test_metrics_of_validation_tasks_are_read_under_their_old_name(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("iteration,rollout/return_step0,evaluation/return_step0,evaluation/own\n3,1.5,2.5,4\n")
    (row,) = read_metrics(path)
    assert row == {
        "iteration": 3.0,
        "rollout/return_step0": 1.5,
        "validation/return_step0": 2.5,
        "evaluation/own": 4.0,  # of a user's callback
    }
