"""Rules and losses of users that would train without any effect, or end deep in torch: one line names each."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import Regression, generator, sgd
from torch import Tensor

from metarl.engine.maml import AdaptedTask, Learner
from metarl.engine.model import mlp
from metarl.engine.params import Params, joined, require_real
from metarl.engine.rules import InnerRule
from metarl.engine.soundness import require_sound_outer_loss, require_sound_steps, sound_parameters

NETWORK = mlp((2, 3, 2), "tanh")
THETA = NETWORK.init(generator(0))
DATA = Regression(torch.randn(3, 5, 2, generator=generator(1)), torch.randn(3, 5, 2, generator=generator(2)))


def squared(params: Params, batch: Regression) -> Tensor:
    return (NETWORK.apply(params, batch.inputs) - batch.targets).square().mean()


def unreduced(params: Params, batch: Regression) -> Tensor:
    return (NETWORK.apply(params, batch.inputs) - batch.targets).square()


def constant(params: Params, batch: Regression) -> Tensor:
    return torch.zeros(())


def detached(params: Params, batch: Regression) -> Tensor:
    return squared(params, batch).detach()


@torch.no_grad()
def ungraded(params: Params, batch: Regression) -> Tensor:
    return squared(params, batch)


def number(params: Params, batch: Regression) -> Any:
    return squared(params, batch).detach().item()


def whole_number(params: Params, batch: Regression) -> Tensor:
    return squared(params, batch).round().long()


LOSSES = [
    (unreduced, r"must be a tensor \[\] of one real number; got torch.float32 \[5, 2\]"),
    (number, "must be a tensor .* got float"),
    (whole_number, r".*got torch.int64 \[\]"),
    (constant, "must not be cut off"),
    (detached, "must not be cut off"),
    (ungraded, "must not be cut off"),
]


@pytest.mark.parametrize(("loss", "words"), LOSSES)
def test_losses_without_a_gradient_or_of_another_kind(loss: Callable[..., Any], words: str) -> None:
    with pytest.raises(ValueError, match=f"^the inner loss {words}"):
        require_sound_steps(Learner(sgd(0.1), loss), THETA, DATA)
    with pytest.raises(ValueError, match=f"^the outer loss {words}"):
        require_sound_outer_loss(
            Learner(sgd(0.1), squared), lambda task: loss(task.adapted, task.query), THETA, [DATA], DATA
        )


def test_losses_that_are_others_with_every_call() -> None:
    """Gradients of the first call, and of the second, would be of two losses."""
    calls = itertools.count(1)

    def counting(params: Params, batch: Regression) -> Tensor:
        return squared(params, batch) * next(calls)

    with pytest.raises(ValueError, match="the inner loss must be the same for the same parameters and data"):
        require_sound_steps(Learner(sgd(0.1), counting), THETA, DATA)
    with pytest.raises(ValueError, match="the outer loss must be the same for the same parameters and data"):
        require_sound_outer_loss(
            Learner(sgd(0.1), squared), lambda task: counting(task.adapted, task.query), THETA, [DATA], DATA
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"init": lambda params, rng: dict(list(params.items())[1:])}, "init of the rule .* it lacks body.0.weight"),
        ({"init": lambda params, rng: None}, "init of the rule must give tensors by name; got NoneType"),
        ({"start": lambda theta: None}, "start of the rule must give tensors by name; got NoneType"),
        ({"start": lambda theta: list(theta.values())}, "start of the rule must give tensors by name; got list"),
    ],
)
def test_rules_that_lose_the_model(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sound_parameters(sgd(0.1)._replace(**changes), THETA, generator(0))
    assert sound_parameters(sgd(0.1), THETA, generator(0)).keys() == THETA.keys()


def altered(update: Callable[[Params], Params]) -> InnerRule:
    rule = sgd(0.1)
    return rule._replace(update=lambda *arguments: update(rule.update(*arguments)))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (altered(lambda fast: dict(list(fast.items())[1:])), "update .* it lacks body.0.weight"),
        (altered(lambda fast: fast | {"more": torch.zeros(1)}), "update .* it has more, too"),
        (altered(lambda fast: {name: leaf[None] for name, leaf in fast.items()}), r"update .* must keep .*\[1, 3, 2\]"),
        (altered(lambda fast: {name: leaf.double() for name, leaf in fast.items()}), "update .* got torch.float64"),
        (altered(lambda fast: None), "update .* must give tensors by name; got NoneType"),  # pyright: ignore[reportArgumentType]
        (sgd(0.1)._replace(merge=lambda fast, meta: {}), "merge .* it lacks body.0.weight"),
    ],
)
def test_rules_that_change_what_adapts(rule: InnerRule, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        require_sound_steps(Learner(rule, squared), THETA, DATA)


def test_an_adaptation_that_is_cut_off_from_theta() -> None:
    """Without derivatives of the inner step MAML's loss has none in theta at all."""
    rule = altered(lambda fast: {name: leaf.detach() for name, leaf in fast.items()})
    with pytest.raises(ValueError, match="the outer loss must not be cut off"):
        require_sound_outer_loss(
            Learner(rule, squared), lambda task: squared(task.adapted, task.query), THETA, [DATA], DATA
        )


def test_what_is_sound_is_left_alone() -> None:
    """Also a loss that changes its data in place."""

    def halving(params: Params, batch: Regression) -> Tensor:
        batch.targets.mul_(0.5)
        return squared(params, batch)

    before = {name: leaf.clone() for name, leaf in THETA.items()}
    targets = DATA.targets.clone()
    learner = Learner(sgd(0.1), halving)
    require_sound_steps(learner, THETA, DATA)

    def outer_loss(task: AdaptedTask) -> Tensor:
        return squared(task.adapted, task.query)

    for support in ([DATA], []):
        require_sound_outer_loss(Learner(sgd(0.1), squared), outer_loss, THETA, support, DATA)
    assert torch.equal(DATA.targets, targets)
    assert all(torch.equal(leaf, THETA[name]) and not leaf.requires_grad for name, leaf in before.items())


def test_parameters_of_two_meanings_or_too_few_bits() -> None:
    assert joined({"a": THETA["head.bias"]}, {"b": THETA["head.bias"]}, "a rule").keys() == {"a", "b"}
    with pytest.raises(ValueError, match="a rule has a parameter 'a', and so has the model"):
        joined({"a": THETA["head.bias"]}, {"a": THETA["head.bias"]}, "a rule")
    assert require_real(THETA) is THETA
    for leaf in (
        torch.zeros(1).half(),
        torch.zeros(1).bfloat16(),
        torch.zeros(1, dtype=torch.complex64),
        torch.tensor(3),
    ):
        with pytest.raises(ValueError, match=r"parameters must be float32 or float64.*; b is torch"):
            require_real({"a": THETA["head.bias"], "b": leaf})
