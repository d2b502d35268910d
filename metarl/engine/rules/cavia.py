"""CAVIA, fast context adaptation: a context vector joins the first layer's input and alone adapts (Zintgraf 2019).

W [x, c] + b = W_x x + (W_c c + b): the context only changes the layer's bias, so that no network needs to know of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch

from metarl.engine.model import xavier_uniform
from metarl.engine.params import Params, joined
from metarl.engine.rules import RULES, InnerRule, SteppingRule, overwrite
from metarl.parts import at_least

CONTEXT = "context"  # the fast parameter c, [context_size]
WEIGHT = "context.weight"  # the meta-parameter W_c, [units, context_size]


@RULES.register("cavia")
@dataclass(frozen=True, kw_only=True)
class CAVIA(SteppingRule):
    """Gradient steps of a context vector that is zero at the start of every task; the network is the same in all."""

    algorithm: ClassVar[str] = "CAVIA"
    needs_gradient: ClassVar[bool] = True

    context_size: Annotated[int, at_least(1)] = 5
    """Numbers in the context vector; the paper has 5 for the sinusoid and navigation, 50 for the half-cheetah."""
    context_layer: str = "body.0"
    """The layer whose input the context joins, as in the names of its parameters. Where the layer is normalised and has
    a shift in place of a bias, the context changes the shift."""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule; see `Rule.build`.

        The rule's `init` raises ValueError where there is no such layer; its `start` where another rule made the
        meta-parameters.
        """

        def init(params: Params, generator: torch.Generator) -> Params:
            bias = params[self._bias(params)]
            weight = xavier_uniform((len(bias), self.context_size), generator).to(bias)
            return joined(params, {WEIGHT: weight}, "rule cavia")

        def start(meta: Params) -> Params:
            if WEIGHT not in meta:
                raise ValueError(f"no parameter is named {WEIGHT!r}; there are {', '.join(meta)}")
            return {CONTEXT: torch.zeros_like(meta[WEIGHT][0])}

        def merge(fast: Params, meta: Params) -> Params:
            bias = self._bias(meta)
            return overwrite({bias: meta[bias] + meta[WEIGHT] @ fast[CONTEXT]}, meta)

        return InnerRule(init, start, self.descent(step_sizes), merge)

    def _bias(self, params: Params) -> str:
        """The name of what the layer adds to its weighted inputs."""
        for name in (f"{self.context_layer}.bias", f"{self.context_layer}.shift"):
            if name in params and params[name].dim() == 1:
                return name
        layers = [name.rpartition(".")[0] for name in params if name.endswith((".bias", ".shift"))]
        raise ValueError(
            f"context_layer must be a layer with a bias or a shift, one of {', '.join(layers) or 'none here'}; "
            f"got {self.context_layer!r}"
        )
