"""Inner-loop rules as data: which parameters a task may change, and how one gradient step changes them.

An `InnerRule` says what `maml.adapt` does with the gradient; it never takes one itself.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from metarl.engine.params import Params


class InnerRule(NamedTuple):
    """Three pure functions on the parameters of one task.

    split(meta) -> fast, slow             what the inner loop changes, and what it only reads
    update(fast, gradient, slow, step) -> fast    one inner step, `step` counted from 0
    merge(fast, slow) -> meta             the parameters a model is applied with; split(merge(f, s)) == (f, s)
    """

    split: Callable[[Params], tuple[Params, Params]]
    update: Callable[[Params, Params, Params, int], Params]
    merge: Callable[[Params, Params], Params]


def sgd(step_sizes: Sequence[float]) -> InnerRule:
    """MAML's rule: theta' = theta - alpha grad L(theta), on all parameters (Finn et al. 2017, eq. 1).

    Args:
        step_sizes: alpha of each inner step; the last one repeats (the paper halves alpha after the first test step).

    Raises:
        ValueError: no step size, or one that is not positive and finite.
    """
    if not step_sizes or not all(0 < size < math.inf for size in step_sizes):
        raise ValueError(f"inner step sizes must be positive numbers, at least one; got {list(step_sizes)}")

    def update(fast: Params, gradient: Params, slow: Params, step: int) -> Params:
        alpha = step_sizes[min(step, len(step_sizes) - 1)]
        return {name: leaf - alpha * gradient[name] for name, leaf in fast.items()}

    return InnerRule(split=lambda meta: (meta, {}), update=update, merge=lambda fast, slow: fast)


RULES: dict[str, Callable[[Sequence[float]], InnerRule]] = {"sgd": sgd}
