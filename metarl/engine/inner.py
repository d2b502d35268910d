"""Inner-loop rules as data: which parameters a task may change, and how one gradient step changes them.

An `InnerRule` says what `maml.adapt` does with the gradient; it never takes one itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from metarl.engine.params import Params

SLOW = "slow/"  # parameters so named are meta-learned, and read by the inner loop, but no inner step changes them
STEP_SIZE = f"{SLOW}step_size/"  # Meta-SGD's, each before the name of its parameter


class InnerRule(NamedTuple):
    """Pure functions on the parameters of one task.

    init(params) -> meta                  a model's parameters with what the rule itself meta-learns
    split(meta) -> fast, slow             what the inner loop changes, and what it only reads
    update(fast, gradient, slow, step) -> fast    one inner step, `step` counted from 0
    merge(fast, slow) -> meta             the parameters a model is applied with; split(merge(f, s)) == (f, s)
    """

    init: Callable[[Params], Params]
    split: Callable[[Params], tuple[Params, Params]]
    update: Callable[[Params, Params, Params, int], Params]
    merge: Callable[[Params, Params], Params]


def sgd(step_sizes: Sequence[float]) -> InnerRule:
    """MAML's rule: theta' = theta - alpha grad L(theta), on all but the slow parameters (Finn et al. 2017, eq. 1).

    Args:
        step_sizes: alpha of each inner step; the last one repeats (the paper halves alpha after the first test step).

    Raises:
        ValueError: no step size, or one that is not positive and finite.
    """
    _require_positive(step_sizes)

    def update(fast: Params, gradient: Params, slow: Params, step: int) -> Params:
        alpha = step_sizes[min(step, len(step_sizes) - 1)]
        return {name: leaf - alpha * gradient[name] for name, leaf in fast.items()}

    return InnerRule(lambda params: params, _split, update, _merge)


def meta_sgd(step_sizes: Sequence[float]) -> InnerRule:
    """Meta-SGD's rule: theta' = theta - alpha * grad L(theta), alpha meta-learned for every parameter (Li et al. 2017).

    Args:
        step_sizes: the first one is what every alpha starts from; step k takes alpha times the ratio of the k-th to
            the first, the last one repeating: [0.1] takes alpha at every step, [0.1, 0.05] half of it from the second.

    Raises:
        ValueError: see `sgd`.
    """
    _require_positive(step_sizes)

    def init(params: Params) -> Params:
        fast, _ = _split(params)
        return params | {f"{STEP_SIZE}{name}": torch.full_like(leaf, step_sizes[0]) for name, leaf in fast.items()}

    def update(fast: Params, gradient: Params, slow: Params, step: int) -> Params:
        ratio = step_sizes[min(step, len(step_sizes) - 1)] / step_sizes[0]
        return {name: leaf - ratio * slow[f"{STEP_SIZE}{name}"] * gradient[name] for name, leaf in fast.items()}

    return InnerRule(init, _split, update, _merge)


def _split(meta: Params) -> tuple[Params, Params]:
    fast = {name: leaf for name, leaf in meta.items() if not name.startswith(SLOW)}
    return fast, {name: leaf for name, leaf in meta.items() if name.startswith(SLOW)}


def _merge(fast: Params, slow: Params) -> Params:
    return {**fast, **slow}


def _require_positive(step_sizes: Sequence[float]) -> None:
    if not step_sizes or not all(0 < size < math.inf for size in step_sizes):
        raise ValueError(f"inner step sizes must be positive numbers, at least one; got {list(step_sizes)}")


RULES: dict[str, Callable[[Sequence[float]], InnerRule]] = {"sgd": sgd, "meta-sgd": meta_sgd}
