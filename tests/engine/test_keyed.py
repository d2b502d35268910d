"""Modules of users: what they are made with, what they must make, and lazy layers."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from conftest import generator
from torch import Tensor, nn

from metarl.engine.module import keyed

TAKES = "two sizes"
NUMBERS = np.random.default_rng(0)


class Net(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs)


def made(module: type[nn.Module], inputs: int = 4, outputs: int = 3) -> Any:
    make = functools.partial(module, inputs, outputs)
    return keyed(make, TAKES, torch.zeros(2, 5, inputs), (2, 5, outputs))


def test_the_example_changes_nothing() -> None:
    before = torch.random.get_rng_state()
    theta = made(Net).init(generator(1))
    torch.manual_seed(0)
    torch.set_rng_state(generator(1).get_state())
    torch.testing.assert_close(theta["layer.weight"], Net(4, 3).layer.weight.detach(), rtol=0, atol=0)
    torch.set_rng_state(before)
    assert not theta["layer.weight"].requires_grad


def test_lazy_layers_are_made_by_the_example_from_the_generator() -> None:
    class Lazy(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.LazyLinear(6), nn.Tanh(), nn.LazyLinear(outputs))

        def forward(self, inputs: Tensor) -> Tensor:
            return self.layers(inputs)

    model = made(Lazy)
    one, again, other = (model.init(generator(seed))["layers.0.weight"] for seed in (1, 1, 2))
    assert one.shape == (6, 4)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


class Pair(Net):
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs), inputs


class Squeezed(Net):
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs)[..., 0]


class Wide(Net):
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs).repeat(1, 1, 2)


class Detached(Net):
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs).detach()


class Ungraded(Net):
    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs)


class Signed(Net):
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs).sign()


class Noisy(Net):
    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs + torch.randn_like(inputs))


class Counting(Net):
    calls = 0

    def forward(self, inputs: Tensor) -> Any:
        self.calls += 1
        return self.layer(inputs) * self.calls


class Numpys(Net):
    """Its initial weights, drawn by NumPy, follow no seed of a run."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.layer.bias = nn.Parameter(torch.from_numpy(NUMBERS.normal(size=outputs)).float())


class Projected(Net):
    """Its constants, which no checkpoint has, are others in every process."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.scale = nn.Parameter(torch.from_numpy(NUMBERS.normal(size=inputs)).float(), requires_grad=False)

    def forward(self, inputs: Tensor) -> Any:
        return self.layer(inputs * self.scale)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Signed, "must change with small changes of its parameters"),
        (Noisy, "must make the same outputs of the same inputs"),
        (Counting, "must make the same outputs of the same inputs"),
        (Numpys, "must draw its initial parameters by torch, whose seed is the run's; layer.bias is another"),
        (Projected, "must have the same constants"),
        (Pair, r"must make a tensor \[2, 5, 3\] of inputs \[2, 5, 4\]; got tuple"),
        (Squeezed, r"must make a tensor \[2, 5, 3\] of inputs \[2, 5, 4\]; got \[2, 5\]"),
        (Wide, r"must make a tensor \[2, 5, 3\] of inputs \[2, 5, 4\]; got \[2, 5, 6\]"),
        (Detached, "must depend on its parameters: nothing can be learned through detach, no_grad or item"),
        (Ungraded, "must depend on its parameters"),
    ],
)
def test_outputs_of_another_kind(module: type[nn.Module], words: str) -> None:
    """One that is too narrow broadcasts; one that is cut off from its parameters trained without any effect."""
    with pytest.raises(ValueError, match=words):
        made(module)


def test_constructors_of_another_kind_and_the_users_own_mistakes() -> None:
    class Without(nn.Module):
        def __init__(self) -> None:
            super().__init__()

    class Mistaken(Net):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(inputs, outputs)
            self.begin(3)  # pyright: ignore[reportCallIssue]

        def begin(self) -> None: ...

    with pytest.raises(ValueError, match=r"is made with two sizes: .*takes 1 positional argument"):
        made(Without)
    with pytest.raises(TypeError, match="begin"):
        made(Mistaken)
