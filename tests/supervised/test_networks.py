"""Networks as parts: options have an effect, and a user's own module or function is one."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from conftest import generator

from metarl.engine.model import Model
from metarl.engine.params import ravel
from metarl.supervised.networks import NETWORKS
from metarl.supervised.networks.dense import Dense
from metarl.supervised.networks.pooled import Pooled
from metarl.supervised.networks.strided import Strided

OWN = '''
import torch
from torch import nn
from metarl.engine.model import mlp


class Small(nn.Module):
    """A network of one's own."""

    def __init__(self, input_shape, outputs, kind, *, width: int = 4):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(input_shape[0], width), nn.Tanh(), nn.Linear(width, outputs))

    def forward(self, inputs):
        return self.layers(inputs)


def module(input_shape, outputs, kind, *, width: int = 4):
    return Small(input_shape, outputs, kind, width=width)


def model(input_shape, outputs, kind, *, width: int = 4):
    return mlp((input_shape[0], width, outputs), "tanh")


def nothing(input_shape, outputs, kind):
    return None
'''


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / f"own_{tmp_path.name}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"own_{tmp_path.name}"


@pytest.mark.parametrize("name", ["Small", "module", "model"])
def test_own_networks_are_found_by_name(own: str, name: str) -> None:
    part = cast(Any, NETWORKS.find(f"{own}:{name}"))
    small, wide = part().build((3,), 2, "regression"), part(width=9).build((3,), 2, "regression")
    assert isinstance(small, Model)
    before = torch.random.get_rng_state()
    first, again, other = (small.init(generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[leaf], again[leaf]) for leaf in first)
    assert not torch.equal(ravel(first), ravel(other))
    assert len(ravel(wide.init(generator(0)))) > len(ravel(first))
    assert small.apply(first, torch.zeros(5, 3)).shape == (5, 2)


def test_what_is_no_network_is_named(own: str) -> None:
    with pytest.raises(ValueError, match=r"nothing must give a torch.nn.Module or a Model; got NoneType"):
        NETWORKS.find(f"{own}:nothing")().build((3,), 2, "regression")
    with pytest.raises(
        ValueError, match=r"must be a class of torch.nn.Module, a dataclass with a method `build`.*; torch is module"
    ):
        NETWORKS.find(f"{own}:torch")


def test_options_have_an_effect() -> None:
    shape = (16, 16, 1)
    for small, large in (
        (Dense(hidden_sizes=(4,)), Dense(hidden_sizes=(4, 4))),
        (Strided(filters=3), Strided(filters=4)),
        (Pooled(filters=3), Pooled(filters=4)),
    ):
        sizes = [len(ravel(one.build(shape, 5, "classification").init(generator(0)))) for one in (small, large)]
        assert sizes[0] < sizes[1]


def test_dense_networks_take_any_shape() -> None:
    for kind in ("regression", "classification"):
        model = Dense(hidden_sizes=(6,)).build((4, 3, 2), 5, kind)
        params = model.init(generator(0))
        assert ("body.0.shift" in params) == (kind == "classification")  # batch norm
        inputs = torch.randn(7, 4, 3, 2, generator=generator(1))
        assert model.apply(params, inputs).shape == (7, 5)
        stacked = {name: leaf.expand(2, *leaf.shape) for name, leaf in params.items()}
        assert model.apply_stacked(stacked, inputs.expand(2, *inputs.shape)).shape == (2, 7, 5)


@pytest.mark.parametrize("network", [Strided(), Pooled()])
def test_convolutions_need_images(network: Any) -> None:
    with pytest.raises(
        ValueError, match=r"network (strided|pooled) needs images .*; inputs have the shape \[1\]: choose"
    ):
        network.build((1,), 1, "regression")
