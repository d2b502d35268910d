"""Modules of one's own that torch cannot batch, copy or call: told where they are made, with what they were called."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import sgd
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from metarl.engine.module import from_module, keyed
from metarl.engine.rules.sgd import SGD


class Layer(nn.Module):
    """A linear layer, and something done to its outputs."""

    def __init__(self, change: Callable[[Any, Tensor], Tensor] = lambda module, outputs: outputs) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.change = change
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.change(self, self.layer(inputs))


def counted(module: Any, outputs: Tensor) -> Tensor:
    module.calls += 1
    return outputs


def branching(module: Any, outputs: Tensor) -> Tensor:
    return -outputs if outputs.sum() > 0 else outputs


def scaled(module: Any, outputs: Tensor) -> Tensor:
    return outputs / outputs.abs().max().item()


def recomputed(module: Any, outputs: Tensor) -> Tensor:
    result = checkpoint(torch.tanh, outputs, use_reentrant=False)
    assert isinstance(result, Tensor)
    return result


def made(make: Callable[[], nn.Module]) -> None:
    keyed(make, "nothing", torch.zeros(2, 3), (2, 2))


@pytest.mark.parametrize("change", [counted, branching, scaled, recomputed])
def test_what_cannot_be_batched_over_tasks_is_told_before_a_run_begins(change: Any) -> None:
    """The first iteration ended in an error of torch, of which many ask to file an issue there."""
    with pytest.raises(RuntimeError) as error:
        made(lambda: Layer(change))
    (note,) = error.value.__notes__
    assert note.startswith("metarl called it with inputs torch.float32 [2, 3], one example a row")
    assert "for several tasks at once by torch.func's vmap and grad" in note


@pytest.mark.parametrize("make", [lambda: Layer().double(), lambda: Layer().half(), lambda: nn.Linear(5, 2)])
def test_errors_of_a_call_say_what_it_was(make: Callable[[], nn.Module]) -> None:
    with pytest.raises(RuntimeError) as error:
        made(make)
    assert error.value.__notes__ == [
        "metarl called it with inputs torch.float32 [2, 3], one example a row, images with their channels last"
    ]


def test_what_works_is_made() -> None:
    made(Layer)


def test_parameters_that_begin_as_nan() -> None:
    """They were told to be drawn by another generator than torch's."""

    def make() -> nn.Module:
        module = Layer()
        nn.init.constant_(module.layer.bias, torch.nan)
        return module

    with pytest.raises(ValueError, match=r"must begin with finite parameters; layer.bias is not"):
        made(make)


def test_modules_that_cannot_be_copied_are_refused_by_name() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        normed = nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))
        scripted = nn.Sequential(torch.jit.script(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"layer '0' \(Linear\) has torch's older weight norm.*parametrizations"):
        from_module(normed)
    with pytest.raises(ValueError, match=r"layer '0' \(RecursiveScriptModule\) is compiled by torch.jit"):
        from_module(scripted)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [(0.1, "a list of numbers, one for each step; got 0.1"), ("0.1", "got '0.1'"), (["a"], r"got \['a'\]")],
)
def test_step_sizes_that_are_none(sizes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SGD().build(sizes)
    assert sgd(0.1, 0.2).learned_steps == 0
