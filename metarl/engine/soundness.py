"""Checks of rules, losses, optimisers and callbacks while a training runs: their mistakes would train in silence."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from metarl.engine.maml import Batch, Learner, OuterLoss
from metarl.engine.params import Params, is_params, require_real
from metarl.engine.rules import InnerRule

# Two values of one loss may differ, because a device may add up in another order: relatively, and near zero.
CLOSE = 1e-3
CLOSE_TO_ZERO = 1e-6


def sound_parameters(rule: InnerRule, parameters: Params, generator: torch.Generator) -> Params:
    """Fresh meta-parameters: a model's parameters, with what the rule learns beside them.

    Raises:
        ValueError: the rule's `init` loses or changes some of the model, or gives half precision; its `start` gives no
            tensors by name.
    """
    theta = rule.init(parameters, generator)
    require_same("init of the rule", theta, parameters, whole=False)
    _require_params("start of the rule", rule.start(require_real(theta)))
    return theta


def require_sound_steps(learner: Learner, theta: Params, batch: Batch) -> None:
    """Take the first inner step of the first task, and check the inner loss and what the rule's functions return.

    Args:
        learner: what adapts to a task.
        theta: meta-parameters.
        batch: the data of the first inner step, every leaf [M, ...], of at least one task.

    Raises:
        ValueError: the inner loss is no scalar tensor, does not depend on what adapts, or is another with every call;
            the rule's functions change names, shapes or dtypes.
    """
    rule = learner.rule
    first = _first_task(batch)
    fast = {name: leaf.detach().clone().requires_grad_() for name, leaf in rule.start(theta).items()}
    merged = rule.merge(fast, theta)
    require_same("merge of the rule", merged, theta, whole=False)
    loss = require_scalar("the inner loss", learner.inner_loss(merged, first))
    if not loss.requires_grad:
        raise ValueError(
            f"{_constant('the inner loss')} what adapts ({', '.join(fast)}): no inner step changes anything"
        )
    _require_repeated("the inner loss", loss, learner.inner_loss(merged, _first_task(batch)))
    gradient = {name: torch.zeros_like(leaf) for name, leaf in fast.items()}
    with torch.no_grad():
        held = {name: leaf.detach() for name, leaf in fast.items()}
        require_same("update of the rule", rule.update(held, gradient, theta, 0), fast)


def require_sound_outer_loss(
    learner: Learner, outer_loss: OuterLoss, theta: Params, support: Sequence[Batch], query: Batch
) -> None:
    """Compute the outer loss of the first task, and check that it can be differentiated.

    Args:
        learner: what adapts to a task.
        outer_loss: of one adapted task.
        theta: meta-parameters.
        support: K batches, every leaf [M, ...], of at least one task.
        query: every leaf [M, ...].

    Raises:
        ValueError: the loss is no scalar tensor, does not depend on the meta-parameters, or is another with every call.
    """
    moved = {name: leaf.detach().clone().requires_grad_() for name, leaf in theta.items()}
    task = learner.adapted_task(moved, [_first_task(batch) for batch in support], _first_task(query))
    loss = require_scalar("the outer loss", outer_loss(task))
    if not loss.requires_grad:
        raise ValueError(f"{_constant('the outer loss')} the meta-parameters: no outer step changes anything")
    again = learner.adapted_task(moved, [_first_task(batch) for batch in support], _first_task(query))
    _require_repeated("the outer loss", loss, outer_loss(again))


def require_scalar(what: str, loss: Any) -> Tensor:
    """The loss of one task. Raises ValueError, which begins with `what`, unless it is a tensor of one real number."""
    is_scalar = isinstance(loss, Tensor) and loss.dim() == 0 and loss.dtype.is_floating_point
    if not is_scalar:
        got = f"{loss.dtype} {list(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise ValueError(f"{what} must be a tensor [] of one real number; got {got}")
    return loss


def _require_repeated(what: str, loss: Tensor, again: Tensor) -> None:
    """Raise ValueError where a loss has another value for the same parameters and data."""
    # Tensors of torch's device `meta` have no values.
    if loss.is_meta:
        return
    if not torch.allclose(loss, again, rtol=CLOSE, atol=CLOSE_TO_ZERO, equal_nan=True):
        raise ValueError(
            f"{what} must be the same for the same parameters and data: leave out what is random in it, or changes "
            f"with each call; got {loss.item():g} and {again.item():g}"
        )


def _require_params(what: str, found: Any) -> None:
    if not is_params(found):
        raise ValueError(f"{what} must give tensors by name; got {type(found).__name__}")


def require_same(what: str, found: Any, expected: Params, *, whole: bool = True) -> None:
    """Raise ValueError unless parameters have the expected names, shapes and dtypes; `whole`: and no other names."""
    _require_params(what, found)
    lacking = [name for name in expected if name not in found]
    further = [name for name in found if name not in expected] if whole else []
    if lacking or further:
        words = f"lacks {lacking[0]}" if lacking else f"has {further[0]}, too"
        raise ValueError(f"{what} must give the parameters {', '.join(expected)}; it {words}")
    for name, leaf in expected.items():
        if (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype):
            got = f"{found[name].dtype} {list(found[name].shape)}"
            raise ValueError(f"{what} must keep {name} {leaf.dtype} {list(leaf.shape)}; got {got}")


def require_state(what: str, found: Any, before: Params) -> None:
    """Raise ValueError unless tensors by name are as they were before, but for their values, and need no gradient."""
    require_same(what, found, before)
    if graphs := [name for name, leaf in found.items() if leaf.requires_grad]:
        raise ValueError(f"{what} must detach {graphs[0]}, or the graph of every step is kept")


@contextmanager
def unchanged(words: str, *groups: Params) -> Iterator[None]:
    """Raise ValueError with these words where the block changes tensors in place, adds some or takes some away."""
    before = [_versions(group) for group in groups]
    yield
    if before != [_versions(group) for group in groups]:
        raise ValueError(words)


def _versions(group: Params) -> dict[str, tuple[int, int]]:
    """The identity of each tensor, and how often it was changed in place, as far as torch counts."""
    # In inference mode torch does not count.
    return {name: (id(leaf), 0 if leaf.is_inference() else leaf._version) for name, leaf in group.items()}


def _constant(what: str) -> str:
    return f"{what} must not be cut off, as by detach, no_grad or item, from"


def _first_task(batch: Batch) -> Batch:
    # Copies, because a loss may change its data in place.
    return tree_map(lambda leaf: leaf[0].clone(), batch)
