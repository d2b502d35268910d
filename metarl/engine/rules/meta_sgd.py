"""Meta-SGD: gradient steps with a meta-learned step size for every parameter (Li et al. 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.engine.params import Params, joined
from metarl.engine.rules import RULES, GradientRule, InnerRule, fits, overwrite, step_size

STEP_SIZE = "step_size."  # prefix: `step_size.NAME` has the step sizes of the parameter NAME, in its shape


@RULES.register("meta-sgd")
@dataclass(frozen=True, kw_only=True)
class MetaSGD(GradientRule):
    """Gradient steps with a meta-learned step size for every parameter, which starts from inner_step_size."""

    algorithm: ClassVar[str] = "Meta-SGD"
    learns_step_sizes: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = True

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule; see `Rule.build`.

        Step k multiplies the learned step sizes by step_sizes[k] / step_sizes[0]: [0.1] takes them as they are at every
        step, [0.1, 0.05] takes half of them from the second step on.

        The rule's `init` and `start` raise ValueError where no parameter has a step size: where `not_adapted` leaves
        none, or where another rule made the meta-parameters.
        """
        sizes = self.sizes(step_sizes)
        frozen = fits(self.not_adapted)

        def init(params: Params, generator: torch.Generator) -> Params:
            self.require_known(params)
            sizes = {
                f"{STEP_SIZE}{name}": torch.full_like(leaf, self.inner_step_size)
                for name, leaf in params.items()
                if not frozen(name)
            }
            meta = joined(params, sizes, "rule meta-sgd")
            # Raises where nothing adapts.
            start(meta)
            return meta

        def start(meta: Params) -> Params:
            fast = {name: leaf for name, leaf in meta.items() if f"{STEP_SIZE}{name}" in meta}
            if not fast:
                raise ValueError(f"no parameter has a step size {STEP_SIZE}NAME; there are {', '.join(meta)}")
            return fast

        def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
            ratio = step_size(sizes, step) / sizes[0]
            return {name: leaf - ratio * meta[f"{STEP_SIZE}{name}"] * gradient[name] for name, leaf in fast.items()}

        return InnerRule(init, start, update, overwrite)
