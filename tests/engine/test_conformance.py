"""The conformance suite finds what is wrong with a rule, and says what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch

from metarl.engine.conformance import check_rule
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule, Rule
from metarl.engine.rules.sgd import SGD

SOUND = SGD().build()


@dataclass(frozen=True)
class Broken(Rule):
    """MAML's rule with one of its functions replaced."""

    change: Callable[[InnerRule], InnerRule]

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        return self.change(SOUND)


def forgets(params: Params, generator: torch.Generator) -> Params:
    return {name: leaf for name, leaf in params.items() if name != "log_std"}


def reshapes(params: Params, generator: torch.Generator) -> Params:
    return params | {"log_std": torch.zeros(1, dtype=torch.float64)}


def in_place(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
    for name, leaf in fast.items():
        leaf -= 0.1 * gradient[name]
    return dict(fast)


def across_tasks(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
    """Cut off from the graph where it should not be."""
    return {name: leaf.detach() - 0.1 * gradient[name] for name, leaf in fast.items()}


class Counting:
    """A start that is another one each time."""

    calls = 0

    def __call__(self, meta: Params) -> Params:
        self.calls += 1
        return {name: leaf + self.calls for name, leaf in meta.items()}


BROKEN: dict[str, tuple[Callable[[InnerRule], InnerRule], str]] = {
    "init forgets": (lambda rule: rule._replace(init=forgets), "init must keep the model's parameters; .*: log_std"),
    "init reshapes": (lambda rule: rule._replace(init=reshapes), "init must keep the model's parameters; .*: log_std"),
    "start is empty": (lambda rule: rule._replace(start=lambda meta: {}), "start must return something that adapts"),
    "start varies": (lambda rule: rule._replace(start=Counting()), "start must return the same for the same"),
    "merge drops": (
        lambda rule: rule._replace(merge=lambda fast, meta: {n: v for n, v in fast.items() if n != "body.0.shift"}),
        "merge must keep every name of the meta-parameters, .*: body.0.shift",
    ),
    "merge ignores": (
        lambda rule: rule._replace(merge=lambda fast, meta: meta),
        "a step along a gradient must change what merge returns",
    ),
    "update drops": (
        lambda rule: rule._replace(update=lambda fast, gradient, meta, step: {"log_std": fast["log_std"]}),
        "update must return the names body.0.weight, .*; got log_std",
    ),
    "update reshapes": (
        lambda rule: rule._replace(
            update=lambda fast, gradient, meta, step: {name: leaf[None] for name, leaf in fast.items()}
        ),
        "update must keep the shapes",
    ),
    "update in place": (lambda rule: rule._replace(update=in_place), "in place"),
    "update detaches": (lambda rule: rule._replace(update=across_tasks), "must be that of finite differences"),
    "update of float32": (
        lambda rule: rule._replace(
            update=lambda fast, gradient, meta, step: {
                name: leaf - 0.1 * gradient[name].float().double() for name, leaf in fast.items()
            }
        ),
        "must be that of finite differences",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rules_are_found(name: str) -> None:
    change, words = BROKEN[name]
    with pytest.raises(ValueError, match=words):
        check_rule(Broken(change))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sound_rules_pass_whatever_the_data(seed: int) -> None:
    check_rule(Broken(lambda rule: rule), seed=seed)
