import math

import pytest
import torch
from conftest import double, gaussian_mlp, generator
from torch.func import vmap

from metarl.engine.params import stack


def test_initialisation_is_the_papers() -> None:
    params = gaussian_mlp(20, 6).init(generator(0))
    assert [tuple(leaf.shape) for leaf in params.values()] == [
        (100, 20), (100,), (100, 100), (100,), (6, 100), (6,), (6,),
    ]  # fmt: skip
    assert all((leaf == 0).all() for name, leaf in params.items() if name.endswith("bias"))
    assert torch.equal(params["log_std"], torch.zeros(6))
    bound = math.sqrt(6 / (20 + 100))
    assert 0.95 * bound < params["body.0.weight"].abs().max() <= bound
    assert params["body.0.weight"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_min_std_is_a_floor() -> None:
    policy = gaussian_mlp(2, 2, min_std=0.1)
    params = policy.init(generator(0)) | {"log_std": torch.tensor([-50.0, 0.0])}
    torch.testing.assert_close(policy.apply(params, torch.zeros(3, 2)).log_std.exp(), torch.tensor([[0.1, 1.0]] * 3))


def test_stacked_parameters_equal_a_loop() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,))
    each = [double(policy.init(generator(seed))) for seed in range(4)]
    stacked = {name: torch.stack([params[name] for params in each]) for name in each[0]}
    observations = torch.randn(4, 7, 2, generator=generator(9), dtype=torch.float64)
    together = vmap(policy.apply)(stacked, observations)
    for i, params in enumerate(each):
        torch.testing.assert_close(together.mean[i], policy.apply(params, observations[i]).mean, rtol=1e-12, atol=1e-14)
    same = vmap(policy.apply)(stack(each[0], 4), observations)
    torch.testing.assert_close(same.mean[2], policy.apply(each[0], observations[2]).mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_std": 0.0}, "initial_std must be a positive number; got 0.0"),
        ({"initial_std": 1e-7}, "min_std <= initial_std; got min_std 1e-06, initial_std 1e-07"),
        ({"activation": "gelu"}, "unknown activation 'gelu': choose one of relu, tanh"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes must be a list of values that are each at least 1"),
    ],
)
def test_impossible_policies_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian_mlp(2, 2, **options)
