import pytest
import torch
from conftest import MODELS, generator, parameters
from torch import nn
from torch.func import functional_call

from metarl.engine.model import from_module, mlp


def test_mlp_equals_a_module_with_the_same_parameters() -> None:
    model = mlp((3, 5, 4, 2), "relu")
    params = model.init(generator(0))
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    module.load_state_dict(dict(zip(module.state_dict(), params.values(), strict=True)))
    inputs = torch.randn(7, 3, generator=generator(1))
    torch.testing.assert_close(model.apply(params, inputs), module(inputs))


def test_any_module_is_a_model_and_is_left_alone() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False))
    model = from_module(module)
    params = model.init(generator(0))
    inputs = torch.randn(7, 3, generator=generator(1))
    torch.testing.assert_close(model.apply(params, inputs), module(inputs))
    doubled = {name: 2 * leaf for name, leaf in params.items()}
    assert not torch.equal(model.apply(doubled, inputs), module(inputs))
    assert all(torch.equal(leaf, params[name]) for name, leaf in module.named_parameters())


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.LayerNorm([4, 5]), (3, 4, 5)),
        (nn.LayerNorm(4, bias=False), (3, 4)),
        (nn.BatchNorm1d(4, track_running_stats=False), (3, 4)),
        (nn.BatchNorm2d(4, track_running_stats=False), (3, 4, 5, 6)),
        (nn.InstanceNorm1d(4, affine=True), (4, 7)),
        (nn.InstanceNorm2d(4, affine=True), (3, 4, 5, 6)),
        (nn.InstanceNorm3d(4, affine=True), (3, 4, 5, 6, 7)),
    ],
)
def test_normalisation_layers_scale_as_they_do_in_one_step(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model = from_module(nn.Sequential(layer))
    params = {
        name: leaf + torch.randn(leaf.shape, generator=generator(2)) for name, leaf in model.init(generator(0)).items()
    }
    inputs = torch.randn(shape, generator=generator(1))
    expected = functional_call(nn.Sequential(layer), params, (inputs,))
    torch.testing.assert_close(model.apply(params, inputs), expected)


class OwnScale(nn.LayerNorm):
    """Scales its first axis, and asks the layer itself for its weight."""

    def forward(self, *inputs: torch.Tensor, **named: torch.Tensor) -> torch.Tensor:
        return inputs[0] * self.weight[:, None]


class Sharing(nn.Module):
    """One normalisation layer in two places, a hook on it, a subclass of another that does as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.one = self.other = nn.LayerNorm(4)
        self.one.register_forward_hook(lambda module, inputs, output: 2 * output + module.eps)
        self.own = OwnScale(3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.own(self.other(inputs) + self.one(inputs) ** 2)


def test_normalisation_layers_stay_what_they_are_otherwise() -> None:
    module = Sharing()
    model = from_module(module)
    initial = model.init(generator(0))
    params = {name: leaf + torch.linspace(0, 1, leaf.numel()).reshape(leaf.shape) for name, leaf in initial.items()}
    inputs = torch.randn(3, 4, generator=generator(1))
    torch.testing.assert_close(model.apply(params, inputs), functional_call(module, params, (inputs,)))


def test_running_statistics_are_refused() -> None:
    with pytest.raises(ValueError, match="layer '1' keeps running statistics: build it with track_running_stats=False"):
        from_module(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_stacked_parameters_give_what_each_task_gives_alone(name: str) -> None:
    model = MODELS[name]()
    tasks = [parameters(model, seed) for seed in range(3)]
    stacked = {leaf: torch.stack([task[leaf] for task in tasks]) for leaf in tasks[0]}
    inputs = torch.randn(3, 5, 2, generator=generator(1), dtype=torch.float64)
    expected = torch.stack([model.apply(task, own) for task, own in zip(tasks, inputs, strict=True)])
    torch.testing.assert_close(model.apply_stacked(stacked, inputs), expected, rtol=1e-12, atol=1e-12)
