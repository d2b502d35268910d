import pytest
import torch
from conftest import MODELS, gaussian_mlp, generator, parameters
from torch import nn

from metarl.engine.model import Model, mlp


def test_mlp_equals_a_module_with_the_same_parameters() -> None:
    model = mlp((3, 5, 4, 2), "relu")
    params = model.init(generator(0))
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    module.load_state_dict(dict(zip(module.state_dict(), params.values(), strict=True)))
    inputs = torch.randn(7, 3, generator=generator(1))
    torch.testing.assert_close(model.apply(params, inputs), module(inputs))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_stacked_parameters_give_what_each_task_gives_alone(name: str) -> None:
    model = MODELS[name]()
    tasks = [parameters(model, seed) for seed in range(3)]
    stacked = {leaf: torch.stack([task[leaf] for task in tasks]) for leaf in tasks[0]}
    inputs = torch.randn(3, 5, 2, generator=generator(1), dtype=torch.float64)
    expected = torch.stack([model.apply(task, own) for task, own in zip(tasks, inputs, strict=True)])
    torch.testing.assert_close(model.apply_stacked(stacked, inputs), expected, rtol=1e-12, atol=1e-12)


def test_names_are_dotted_and_in_the_order_of_the_layers() -> None:
    names = [f"{layer}.{kind}" for layer in ("body.0", "body.1", "head") for kind in ("weight", "bias")]
    assert list(mlp((3, 5, 4, 2), "relu").init(generator(0))) == names
    assert list(gaussian_mlp(3, 2, hidden_sizes=(5, 4)).init(generator(0))) == [*names, "log_std"]
    assert list(mlp((3, 2), "relu").init(generator(0))) == ["head.weight", "head.bias"]


def test_a_policy_has_a_distribution_for_each_task() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(4,))
    tasks = [parameters(policy, seed) for seed in range(3)]
    stacked = {leaf: torch.stack([task[leaf] for task in tasks]) for leaf in tasks[0]}
    inputs = torch.randn(3, 5, 2, generator=generator(1), dtype=torch.float64)
    together = policy.apply_stacked(stacked, inputs)
    for i, task in enumerate(tasks):
        torch.testing.assert_close([field[i] for field in together], list(policy.apply(task, inputs[i])))


def test_a_model_without_a_fast_way_is_applied_by_vmap() -> None:
    model = Model(lambda g: {"w": torch.ones(2)}, lambda params, inputs: inputs @ params["w"])
    stacked, inputs = {"w": torch.arange(6.0).reshape(3, 2)}, torch.randn(3, 5, 2, generator=generator(1))
    torch.testing.assert_close(model.apply_stacked(stacked, inputs), torch.einsum("mni,mi->mn", inputs, stacked["w"]))
