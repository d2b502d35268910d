"""ANIL, almost no inner loop: the last layer alone adapts (Raghu et al. 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from metarl.engine.params import Params
from metarl.engine.rules import RULES, InnerRule, SteppingRule, fits, overwrite, require_names
from metarl.parts import NOT_EMPTY


@RULES.register("anil")
@dataclass(frozen=True, kw_only=True)
class ANIL(SteppingRule):
    """Gradient steps of the last layer and of the policy's standard deviation; the body is meta-learned alone."""

    algorithm: ClassVar[str] = "ANIL"
    needs_gradient: ClassVar[bool] = True

    adapted: Annotated[tuple[str, ...], NOT_EMPTY] = ("head.*", "log_std")
    """Names of the parameters that the inner steps change; * stands for anything. All others are meta-learned and the
    same in every task."""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule; see `Rule.build`.

        The rule's `init` raises ValueError for a pattern, other than the default, that no parameter's name fits, and
        where nothing adapts.
        """
        chosen = fits(self.adapted)

        def init(params: Params, generator: torch.Generator) -> Params:
            require_names("adapted", set(self.adapted) - set(ANIL.adapted), params)
            # Raises where nothing adapts.
            start(params)
            return params

        def start(meta: Params) -> Params:
            fast = {name: leaf for name, leaf in meta.items() if chosen(name)}
            if not fast:
                raise ValueError(f"adapted {self.adapted} fits none of the parameters {', '.join(meta)}")
            return fast

        return InnerRule(init, start, self.descent(step_sizes), overwrite)
