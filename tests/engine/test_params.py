import pytest
import torch

from metarl.engine.params import add, detach, ravel, stack, unravel

PARAMS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7.0), "c": torch.tensor([8.0, 9.0])}


def test_ravel_keeps_order_and_unravel_inverts_it() -> None:
    assert ravel(PARAMS).tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    back = unravel(ravel(PARAMS), PARAMS)
    assert all(torch.equal(back[name], leaf) for name, leaf in PARAMS.items())


def test_unravel_returns_the_dtype_of_its_model() -> None:
    assert unravel(ravel(PARAMS).double(), PARAMS)["a"].dtype == torch.float32


def test_unravel_refuses_another_length() -> None:
    with pytest.raises(ValueError, match=r"shape \(8,\) cannot become 9 parameters"):
        unravel(torch.zeros(8), PARAMS)


def test_add_scales_the_second() -> None:
    assert torch.equal(ravel(add(PARAMS, PARAMS, -0.5)), 0.5 * ravel(PARAMS))


def test_stack_repeats_and_detach_cuts() -> None:
    stacked = stack(PARAMS, 4)
    assert stacked["a"].shape == (4, 2, 3)
    assert torch.equal(stacked["a"][3], PARAMS["a"])
    leaf = torch.ones(2, requires_grad=True)
    assert not detach({"x": 2 * leaf})["x"].requires_grad
