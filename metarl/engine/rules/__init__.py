"""Inner rules: what a task starts from, how one gradient step moves it, and which parameters the model then has.

One rule a file, its options beside it. A rule chooses by name what adapts; networks know nothing of rules.
An `InnerRule` says what `maml.Learner` does with the inner gradient; it never takes one itself.
"""

import fnmatch
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Annotated, Any, ClassVar, NamedTuple

import torch

from metarl.engine.params import Params, detach
from metarl.parts import POSITIVE, Part, Registry


class InnerRule(NamedTuple):
    """Pure functions on the parameters of one task.

    init(params, generator) -> meta             the model's fresh parameters, and what the rule itself meta-learns
    start(meta) -> fast                         the fast parameters of a task before its first inner step
    update(fast, gradient, meta, step) -> fast  one inner step, `step` counted from 0; same names and shapes
    merge(fast, meta) -> params                 the parameters that the model is applied with

    The fast parameters, which the inner steps change, need not be among the meta-parameters. A context vector, for
    instance, can start at zero in every task (`start`) and be added to a layer's bias (`merge`): the same as appending
    it to the layer's input, without a model that knows of it. `merge` keeps every name of `meta`, so that adapted
    parameters can be adapted again. `conformance.check_rule` tests all this.
    """

    init: Callable[[Params, torch.Generator], Params]
    start: Callable[[Params], Params]
    update: Callable[[Params, Params, Params, int], Params]
    merge: Callable[[Params, Params], Params]
    holds_gradient: bool = False  # whether `update` treats the gradient as a constant: see `first_order`
    learned_steps: int = 0  # inner steps that training must take at least, because something is learned for each


def first_order(rule: InnerRule) -> InnerRule:
    """The same rule, whose inner gradients are constants under differentiation (Finn et al. 2017, section 5.2)."""

    def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
        return rule.update(fast, detach(gradient), meta, step)

    return rule._replace(update=update, holds_gradient=True)


class Rule(Part):
    """Base of the rules' options."""

    algorithm: ClassVar[str] = ""
    """The algorithm that meta-training with this rule is, such as `ANIL`, by which figures and tables call its runs.
    Empty: it has no name of its own, and runs are called after the method and the rule. A rule that derives from
    another one does not inherit its name."""

    learns_step_sizes: ClassVar[bool] = False
    """Whether step sizes are meta-learned, so that an evaluation cannot choose them."""

    needs_gradient: ClassVar[bool] = False
    """Whether the rule meta-learns parameters that no inner step changes: only the outer loss's gradient moves them."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Give a rule that derives from another one no name but its own."""
        super().__init_subclass__(**options)
        named = next(kind for kind in cls.__mro__ if "algorithm" in vars(kind))
        # Runs of one name are taken for seeds of one algorithm.
        if named is not cls and issubclass(named, Rule):
            cls.algorithm = ""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        """Make the rule.

        Args:
            step_sizes: the size of each inner step, the last one repeating, in place of the rule's own option. An
                evaluation gives its own (the paper halves alpha after the first step there). Empty: the rule's option.

        Raises:
            ValueError: step sizes that are not positive and finite, or that the rule has no use for.
        """
        raise NotImplementedError


RULES: Registry[Rule] = Registry("rule", "metarl.engine.rules", base=Rule)


@dataclass(frozen=True, kw_only=True)
class SteppingRule(Rule):
    """Base of the rules that take gradient steps of some size."""

    inner_step_size: Annotated[float, POSITIVE] = 0.1
    """Step size alpha of the inner gradient steps."""

    def sizes(self, step_sizes: Sequence[float]) -> tuple[float, ...]:
        """The given step sizes, or else the rule's own. Raises ValueError unless they are positive and finite."""
        words = f"inner step sizes must be a list of numbers, one for each step; got {step_sizes!r}"
        is_text = isinstance(step_sizes, str | bytes)
        if is_text:
            raise ValueError(words)
        try:
            given = list(step_sizes)
        except TypeError:  # an array without dimensions has `__iter__`, too
            raise ValueError(words) from None
        if not all(isinstance(size, Real) and 0 < size < math.inf for size in given):
            raise ValueError(f"inner step sizes must be positive numbers; got {given}")
        return tuple(map(float, given)) or (self.inner_step_size,)

    def descent(self, step_sizes: Sequence[float]) -> Callable[[Params, Params, Params, int], Params]:
        """Make the `update` of gradient steps, fast - alpha gradient (Finn et al. 2017, equation 1)."""
        sizes = self.sizes(step_sizes)

        def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
            alpha = step_size(sizes, step)
            return {name: leaf - alpha * gradient[name] for name, leaf in fast.items()}

        return update


@dataclass(frozen=True, kw_only=True)
class GradientRule(SteppingRule):
    """Base of the rules that adapt all of the model's own parameters but a few."""

    not_adapted: tuple[str, ...] = ("*.shift",)
    """Names of parameters that are meta-learned but that no inner step changes; * stands for anything, as in body.0.*.
    The default is the shift of batch norm, as in the paper."""

    def require_known(self, params: Params) -> None:
        """Raise ValueError for a pattern, other than the default, that no parameter's name fits."""
        require_names("not_adapted", set(self.not_adapted) - set(GradientRule.not_adapted), params)


def require_names(option: str, patterns: Iterable[str], params: Params) -> None:
    """Raise ValueError for a pattern of an option that no parameter's name fits."""
    for pattern in patterns:
        if not any(map(fits([pattern]), params)):
            raise ValueError(f"{option}: no parameter is named {pattern!r}; there are {', '.join(params)}")


def fits(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Make a function that tells whether a name fits one of the patterns, in which * stands for anything."""
    # The patterns become regular expressions here, because torch.compile cannot trace what fnmatch itself does.
    expressions = [re.compile(fnmatch.translate(pattern)) for pattern in patterns]
    return lambda name: any(expression.match(name) for expression in expressions)


def step_size(sizes: Sequence[float], step: int) -> float:
    """The size of step number `step`, counted from 0; the last size repeats."""
    return sizes[min(step, len(sizes) - 1)]


def overwrite(fast: Params, meta: Params) -> Params:
    """The meta-parameters, in their order, with the fast ones in place of those of the same names."""
    return {**meta, **fast}
