"""MAML's own rule: gradient steps of a fixed size (Finn et al. 2017, equation 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from metarl.engine.params import Params
from metarl.engine.rules import RULES, GradientRule, InnerRule, fits, overwrite


@RULES.register("sgd")
@dataclass(frozen=True, kw_only=True)
class SGD(GradientRule):
    """MAML's gradient steps of a fixed size: theta' = theta - alpha grad L(theta)."""

    algorithm: ClassVar[str] = "maml"

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule; see `Rule.build`. Its `init` raises ValueError where `not_adapted` leaves nothing."""
        frozen = fits(self.not_adapted)

        def init(params: Params, generator: torch.Generator) -> Params:
            self.require_known(params)
            # Raises where nothing adapts.
            start(params)
            return params

        def start(meta: Params) -> Params:
            fast = {name: leaf for name, leaf in meta.items() if not frozen(name)}
            if not fast:
                raise ValueError(f"not_adapted {self.not_adapted} leaves nothing to adapt of {', '.join(meta)}")
            return fast

        return InnerRule(init, start, self.descent(step_sizes), overwrite)
