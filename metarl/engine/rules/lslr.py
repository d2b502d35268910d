"""LSLR: gradient steps with a meta-learned size for every layer and step (Antoniou et al. 2019, MAML++, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from metarl.engine.params import Params, joined
from metarl.engine.rules import RULES, GradientRule, InnerRule, fits, overwrite, require_names, step_size
from metarl.parts import at_least

STEP_SIZES = "step_sizes."  # prefix: `step_sizes.NAME` has a size of the parameter NAME for each learned step, [K]
AFTER = "after."  # prefix: `after.NAME` has the values of NAME after each learned step, [K, ...]


@RULES.register("lslr")
@dataclass(frozen=True, kw_only=True)
class LSLR(GradientRule):
    """Gradient steps with a meta-learned size for every layer and step, which start from inner_step_size (MAML++).

    A layer's weight and its bias have sizes of their own. Further inner steps have the sizes of the last learned one.
    """

    algorithm: ClassVar[str] = "LSLR"
    learns_step_sizes: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = True

    learned_steps: Annotated[int, at_least(1)] = 5
    """Inner steps that something of their own is learned for; no more than --inner-steps."""
    per_step: tuple[str, ...] = ()
    """Names of parameters that no inner step changes and that are meta-learned once for theta and once for after each
    learned step; * stands for anything. MAML++'s batch norm is *.shift."""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule; see `Rule.build`.

        Step k multiplies its learned sizes by step_sizes[k] / step_sizes[0], as Meta-SGD's.

        The rule's `init` raises ValueError for a pattern that no parameter's name fits, for one of `per_step` that
        inner steps change, and for a parameter of the model that has the name of a learned one; both it and `start`
        where no parameter has step sizes.
        """
        sizes = self.sizes(step_sizes)
        frozen = fits(self.not_adapted)
        own = fits(self.per_step)
        last = self.learned_steps - 1

        def init(params: Params, generator: torch.Generator) -> Params:
            self.require_known(params)
            require_names("per_step", self.per_step, params)
            added: Params = {}
            for name, leaf in params.items():
                if not frozen(name):
                    added[f"{STEP_SIZES}{name}"] = leaf.new_full((self.learned_steps,), self.inner_step_size)
                if own(name):
                    if not frozen(name):
                        raise ValueError(f"per_step: {name} is changed by inner steps; name it in not_adapted, too")
                    added[f"{AFTER}{name}"] = leaf.expand(self.learned_steps, *leaf.shape).clone()
            meta = joined(params, added, "rule lslr")
            # Raises where nothing adapts.
            start(meta)
            return meta

        def start(meta: Params) -> Params:
            fast = {name: leaf for name, leaf in meta.items() if f"{STEP_SIZES}{name}" in meta}
            if not fast:
                raise ValueError(f"no parameter has step sizes {STEP_SIZES}NAME; there are {', '.join(meta)}")
            return fast | {name: leaf for name, leaf in meta.items() if f"{AFTER}{name}" in meta}

        def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
            ratio = step_size(sizes, step) / sizes[0]
            k = min(step, last)
            moved = {}
            for name, leaf in fast.items():
                if f"{AFTER}{name}" in meta:
                    moved[name] = meta[f"{AFTER}{name}"][k]
                else:
                    moved[name] = leaf - ratio * meta[f"{STEP_SIZES}{name}"][k] * gradient[name]
            return moved

        return InnerRule(init, start, update, overwrite, learned_steps=self.learned_steps)
