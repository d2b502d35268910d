"""Rules: what they choose by name, and what users can write in one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import TASKS, Regression, generator, parameters, regression, rule_part, sgd
from torch import Tensor

from metarl.engine.conformance import check_rule
from metarl.engine.maml import Learner
from metarl.engine.model import mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params
from metarl.engine.rules import RULES, GradientRule, InnerRule, Rule, first_order, fits
from metarl.engine.rules.anil import ANIL
from metarl.engine.rules.cavia import CAVIA
from metarl.engine.rules.lslr import LSLR
from metarl.engine.rules.meta_sgd import STEP_SIZE, MetaSGD
from metarl.engine.rules.sgd import SGD

STEP = f"{STEP_SIZE}x"
PARAMS = {
    "body.0.weight": torch.ones(2, 2),
    "body.0.shift": torch.ones(2),
    "head.weight": torch.ones(1, 2),
    "log_std": torch.ones(1),
}


def test_every_registered_rule_conforms(rule_name: str) -> None:
    check_rule(rule_part(rule_name))


def test_the_registered_rules() -> None:
    assert set(RULES.names) >= {"sgd", "meta-sgd", "anil", "cavia"}
    assert RULES.name_of(MetaSGD()) == "meta-sgd"


@pytest.mark.parametrize("sizes", [(0.0,), (0.1, -0.1), (float("nan"),), (0.1, float("inf"))])
def test_step_sizes_must_be_positive(sizes: tuple[float, ...], rule_name: str) -> None:
    with pytest.raises(ValueError, match="inner step sizes must be positive"):
        rule_part(rule_name).build(sizes)


@pytest.mark.parametrize("size", [0.0, -0.1, float("nan"), float("inf")])
def test_the_step_size_must_be_positive(size: float, rule_name: str) -> None:
    with pytest.raises(ValueError, match="inner_step_size must be a positive number"):
        rule_part(rule_name, inner_step_size=size)


def update_of_ones(rule: InnerRule, step: int) -> float:
    """How far step number `step` moves what adapts along a gradient of 1."""
    theta = rule.init({name: leaf.double() for name, leaf in PARAMS.items()}, generator(0))
    fast = rule.start(theta)
    moved = rule.update(fast, {name: torch.ones_like(leaf) for name, leaf in fast.items()}, theta, step)
    (distance,) = {round((leaf - moved[name]).unique().item(), 12) for name, leaf in fast.items()}
    return distance


def test_step_sizes_are_the_rules_own_or_those_given(rule_name: str) -> None:
    part = rule_part(rule_name, inner_step_size=0.4)
    assert [update_of_ones(part.build(), step) for step in range(3)] == [0.4] * 3
    given = [update_of_ones(part.build((0.4, 0.1)), step) for step in range(4)]
    assert given == pytest.approx([0.4, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("sizes", [np.array([0.4, 0.1]), {0.4: "a", 0.1: "b"}.keys()])
def test_step_sizes_are_any_numbers_one_after_the_other(sizes: Any, rule_name: str) -> None:
    rule = rule_part(rule_name, inner_step_size=0.4).build(sizes)
    assert [update_of_ones(rule, step) for step in range(3)] == pytest.approx([0.4, 0.1, 0.1])


@pytest.mark.parametrize("sizes", ["0.1", b"0.1", 0.1, np.array(0.1), None])
def test_step_sizes_that_are_no_list(sizes: Any, rule_name: str) -> None:
    with pytest.raises(ValueError, match="inner step sizes must be a list of numbers, one for each step; got"):
        rule_part(rule_name).build(sizes)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*.shift",), {"body.0.weight", "head.weight", "log_std"}),
        ((), set(PARAMS)),
        (("body.*",), {"head.weight", "log_std"}),
        (("body.0.weight", "log_std"), {"body.0.shift", "head.weight"}),
    ],
)
def test_what_adapts_is_chosen_by_name(patterns: tuple[str, ...], expected: set[str], gradient_rule_name: str) -> None:
    rule = rule_part(gradient_rule_name, not_adapted=patterns).build()
    theta = rule.init(PARAMS, generator(0))
    assert set(rule.start(theta)) == expected
    assert list(theta)[: len(PARAMS)] == list(PARAMS)
    merged = rule.merge({name: leaf + 1 for name, leaf in rule.start(theta).items()}, theta)
    assert list(merged) == list(theta)
    for name in PARAMS:
        assert torch.equal(merged[name], PARAMS[name] + (name in expected)), name


def test_meta_sgd_has_step_sizes_for_what_adapts_alone() -> None:
    theta = MetaSGD(inner_step_size=0.3).build().init(PARAMS, generator(0))
    sizes = {name.removeprefix(STEP_SIZE): leaf for name, leaf in theta.items() if name.startswith(STEP_SIZE)}
    assert set(sizes) == set(PARAMS) - {"body.0.shift"}
    for name, leaf in sizes.items():
        assert torch.equal(leaf, torch.full_like(PARAMS[name], 0.3))


def test_nothing_to_adapt_is_refused() -> None:
    everything = SGD(not_adapted=("body.*", "head.*", "log_std")).build()
    with pytest.raises(ValueError, match=r"leaves nothing to adapt of body.0.weight, body.0.shift"):
        everything.start(PARAMS)
    nothing = MetaSGD(not_adapted=("*",)).build()
    with pytest.raises(ValueError, match="no parameter has a step size"):
        nothing.start(nothing.init(PARAMS, generator(0)))


def test_a_pattern_that_no_name_fits_is_refused(gradient_rule_name: str) -> None:
    rule = rule_part(gradient_rule_name, not_adapted=("tail.*",)).build()
    with pytest.raises(ValueError, match=r"no parameter is named 'tail.\*'; there are body.0.weight, "):
        rule.init(PARAMS, generator(0))


def test_parameters_that_are_not_adapted_are_meta_learned_all_the_same() -> None:
    """L(x) = (x + s)^2 / 2 with s not adapted: theta' = x - a (x + s), the outer loss sees s twice."""
    theta = {"x": torch.tensor(2.0), "layer.shift": torch.tensor(1.0)}

    def loss(params: Params, batch: Tensor) -> Tensor:
        return 0.5 * (params["x"] + params["layer.shift"]) ** 2 + 0 * batch

    data = torch.zeros(1)
    learner = Learner(sgd(0.25), loss)
    assert learner.adapt(theta, [data[0]]) == {"x": torch.tensor(1.25), "layer.shift": torch.tensor(1.0)}
    functions = TaskFunctions(lambda task: loss(task.adapted, task.query))
    value, gradient = MetaObjective(theta, learner, functions, [data], data).loss_and_gradient(theta)
    assert value == pytest.approx(0.5 * 2.25**2)  # 0.75 (x + s)
    assert gradient == {"x": pytest.approx(0.75 * 2.25), "layer.shift": pytest.approx(0.75 * 2.25)}


def test_meta_sgd_starts_as_sgd_and_learns_a_step_size_for_every_parameter() -> None:
    """L(x) = |h * x|^2 / 2, h a constant: the best alpha of parameter i is 1 / h_i^2."""
    h, data = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.zeros(1)

    def loss(params: Params, batch: Tensor) -> Tensor:
        return 0.5 * ((h * params["x"]) ** 2).sum() + 0 * batch

    learner = Learner(MetaSGD(inner_step_size=0.2).build((0.2, 0.1)), loss)
    theta = learner.rule.init({"x": torch.tensor([1.0, -1.0], dtype=torch.float64)}, generator(0))
    for steps in (1, 2, 3):
        one, other = (each.adapt(theta, [data[0]] * steps) for each in (learner, Learner(sgd(0.2, 0.1), loss)))
        torch.testing.assert_close(one["x"], other["x"])
    functions = TaskFunctions(lambda task: loss(task.adapted, task.query))
    for _ in range(1000):
        _, gradient = MetaObjective(theta, learner, functions, [data], data).loss_and_gradient(theta)
        theta = {"x": theta["x"], STEP: theta[STEP] - 0.02 * gradient[STEP]}
    torch.testing.assert_close(theta[STEP], 1 / h**2, rtol=1e-3, atol=0)


@dataclass(frozen=True, kw_only=True)
class Signs(Rule):
    """A rule of a user: steps of one size, whatever the gradient's."""

    def build(self, step_sizes: Sequence[float] = ()) -> InnerRule:
        def update(fast: Params, gradient: Params, meta: Params, step: int) -> Params:
            return {name: leaf - 0.1 * gradient[name].tanh() for name, leaf in fast.items()}

        return SGD().build()._replace(update=update)


def test_a_rule_of_users_conforms() -> None:
    check_rule(Signs())


def test_a_rule_inherits_no_name_of_another_algorithm() -> None:
    """Runs of a rule that derives from SGD were taken for further seeds of MAML."""

    class Unnamed(SGD):
        pass

    class Named(Unnamed):
        algorithm: ClassVar[str] = "Mine"

    class OfUser:
        algorithm: ClassVar[str] = "Theirs"

    class Adopted(OfUser, Rule):
        """As a registry makes one of a dataclass that is no rule."""

    assert [kind.algorithm for kind in (SGD, Unnamed, Named, Adopted, Signs)] == ["maml", "", "Mine", "Theirs", ""]


def regression_learner(rule: InnerRule) -> tuple[Learner, TaskFunctions]:
    model = mlp((2, 4, 2), "tanh")

    def predict(params: Params, batch: Regression) -> Tensor:
        return model.apply(params, batch.inputs)

    def loss(params: Params, batch: Regression) -> Tensor:
        return (predict(params, batch) - batch.targets).square().mean()

    functions = TaskFunctions(lambda task: (task.outputs - task.query.targets).square().mean())
    return Learner(rule, loss, predict), functions


@pytest.mark.parametrize("adapted", [("head.*", "log_std"), ("body.0.bias",)])
def test_anil_adapts_what_it_is_told_alone(adapted: tuple[str, ...]) -> None:
    learner, _ = regression_learner(ANIL(inner_step_size=0.5, adapted=adapted).build())
    theta = learner.rule.init(parameters(mlp((2, 4, 2), "tanh")), generator(0))
    fast = learner.start_each(theta, TASKS)
    merged = learner.merge_each(learner.step_each(fast, theta, regression(0), step=0), theta)
    for name, leaf in theta.items():
        assert torch.equal(merged[name], leaf.expand_as(merged[name])) != fits(adapted)(name), name


def test_anil_refuses_to_adapt_nothing() -> None:
    with pytest.raises(ValueError, match=r"adapted: no parameter is named 'tail.\*'; there are body.0.weight, "):
        ANIL(adapted=("tail.*", "head.*")).build().init(PARAMS, generator(0))
    with pytest.raises(ValueError, match=r"adapted \('head.\*', 'log_std'\) fits none of the parameters x"):
        ANIL().build().init({"x": torch.ones(1)}, generator(0))
    with pytest.raises(ValueError, match="adapted must be a list with at least one value"):
        ANIL(adapted=())


@pytest.mark.parametrize("held", [False, True])
def test_a_context_is_an_input_of_the_model_that_adapts_alone(held: bool) -> None:
    """CAVIA against a network whose inputs really are extended, and a loop with double backward."""
    rule = CAVIA(inner_step_size=0.5, context_size=3).build()
    learner, functions = regression_learner(first_order(rule) if held else rule)
    theta = learner.rule.init(parameters(mlp((2, 4, 2), "tanh")), generator(3))
    support, query, extended = regression(0), regression(1), mlp((5, 4, 2), "tanh")
    objective = MetaObjective(theta, learner, functions, [support, support], query)
    value, gradient = objective.loss_and_gradient(theta)

    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in theta.items()}
    wide = torch.cat([leaves["body.0.weight"], leaves["context.weight"]], 1)

    def loss(context: Tensor, batch: Regression, i: int) -> Tensor:
        inputs = torch.cat([batch.inputs[i], context.expand(len(batch.inputs[i]), -1)], 1)
        return (extended.apply(leaves | {"body.0.weight": wide}, inputs) - batch.targets[i]).square().mean()

    total = torch.zeros((), dtype=torch.float64)
    for i in range(TASKS):
        context = torch.zeros(3, dtype=torch.float64, requires_grad=True)
        for _ in range(2):
            (step,) = torch.autograd.grad(loss(context, support, i), context, create_graph=not held)
            context = context - 0.5 * step
        total = total + loss(context, query, i)
    expected = torch.autograd.grad(total / TASKS, list(leaves.values()))
    assert value == pytest.approx(total.item() / TASKS, rel=1e-12)
    for (name, leaf), other in zip(gradient.items(), expected, strict=True):
        torch.testing.assert_close(leaf, other, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize(("layer", "changed"), [("body.0", "body.0.shift"), ("head", "head.bias")])
def test_a_context_joins_the_layer_that_it_is_told(layer: str, changed: str) -> None:
    """It moves the bias, or the shift of a normalised layer, by a vector of the asked size times its weight."""
    params = PARAMS | {"head.bias": torch.ones(1)}
    rule = CAVIA(context_layer=layer, context_size=4).build()
    theta = rule.init(params, generator(0))
    assert theta["context.weight"].shape == (len(params[changed]), 4)
    fast = {"context": torch.arange(4.0)}
    assert torch.equal(rule.start(theta)["context"], torch.zeros(4))
    merged = rule.merge(fast, theta)
    torch.testing.assert_close(merged[changed], params[changed] + theta["context.weight"] @ fast["context"])
    assert all(torch.equal(merged[name], leaf) for name, leaf in theta.items() if name != changed)


def test_cavia_refuses_a_layer_that_is_not_there_and_foreign_parameters() -> None:
    with pytest.raises(ValueError, match=r"context_layer must be .* one of body.0; got 'tail'"):
        CAVIA(context_layer="tail").build().init(PARAMS, generator(0))
    with pytest.raises(ValueError, match=r"no parameter is named 'context.weight'; there are body.0.weight, "):
        CAVIA().build().start(PARAMS)
    with pytest.raises(ValueError, match=r"context_size must be at least 1; got 0"):
        CAVIA(context_size=0)


def lslr_loop(theta: Params, shift: str, support: Regression, query: Regression, steps: int, learned: int) -> Tensor:
    """MAML++'s inner loop by hand, of a network with one hidden layer whose bias is learned for every step."""
    total = torch.zeros((), dtype=torch.float64)
    adapted_names = ("body.0.weight", "head.weight", "head.bias")
    network = mlp((2, 4, 2), "tanh")
    for i in range(TASKS):
        fast = {name: theta[name] for name in (*adapted_names, shift)}
        for step in range(steps):
            loss = (network.apply(fast, support.inputs[i]) - support.targets[i]).square().mean()
            gradients = torch.autograd.grad(loss, [fast[name] for name in adapted_names], create_graph=True)
            k = step if step < learned else learned - 1
            for name, gradient in zip(adapted_names, gradients, strict=True):
                fast[name] = fast[name] - theta[f"step_sizes.{name}"][k] * gradient
            fast[shift] = theta[f"after.{shift}"][k]
        total = total + (network.apply(fast, query.inputs[i]) - query.targets[i]).square().mean()
    return total / TASKS


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_lslr_has_step_sizes_and_shifts_for_every_layer_and_step(steps: int) -> None:
    """Against a loop with double backward, in float64; the steps after the second have what the second has."""
    shift = "body.0.bias"
    rule = LSLR(inner_step_size=0.3, learned_steps=2, not_adapted=(shift,), per_step=(shift,)).build()
    learner, functions = regression_learner(rule)
    g = generator(4)
    fresh = rule.init(parameters(mlp((2, 4, 2), "tanh")), g)
    theta = {
        name: leaf * (1 + 0.3 * torch.randn(leaf.shape, generator=g, dtype=torch.float64))
        for name, leaf in fresh.items()
    }
    support, query = regression(0), regression(1)
    value, gradient = MetaObjective(theta, learner, functions, [support] * steps, query).loss_and_gradient(theta)
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    loss = lslr_loop(leaves, shift, support, query, steps, 2)
    expected = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    for (name, leaf), other in zip(gradient.items(), expected, strict=True):
        wanted = torch.zeros_like(leaf) if other is None else other
        torch.testing.assert_close(leaf, wanted, rtol=1e-9, atol=1e-12, msg=name)
    # Of a step that is never taken nothing is learned.
    assert all(bool(leaf[1].any()) == (steps > 1) for name, leaf in gradient.items() if name.startswith("after."))


def test_lslr_overwrites_no_parameter_of_the_model() -> None:
    params = parameters(mlp((2, 4, 2), "tanh"))
    taken = params | {"step_sizes.head.bias": params["head.bias"]}
    with pytest.raises(ValueError, match=r"rule lslr has a parameter 'step_sizes\.head\.bias', and so has the model"):
        LSLR().build().init(taken, generator(0))


def test_lslr_starts_as_sgd() -> None:
    params = parameters(mlp((2, 4, 2), "tanh"))
    rule = LSLR(inner_step_size=0.2, learned_steps=3).build((0.2, 0.1))
    learner, _ = regression_learner(rule)
    theta = rule.init(params, generator(0))
    assert {name: tuple(leaf.shape) for name, leaf in theta.items() if name not in params} == {
        f"step_sizes.{name}": (3,) for name in params
    }
    plain, _ = regression_learner(sgd(0.2, 0.1))
    batch = regression(0)
    support = [Regression(batch.inputs[0], batch.targets[0])] * 4
    adapted, expected = learner.adapt(theta, support), plain.adapt(params, support)
    for name, leaf in expected.items():
        torch.testing.assert_close(adapted[name], leaf, rtol=1e-12, atol=1e-14)


def test_lslr_refuses_what_it_cannot_learn() -> None:
    with pytest.raises(ValueError, match=r"per_step: no parameter is named 'tail.\*'; there are body.0.weight, "):
        LSLR(per_step=("tail.*",)).build().init(PARAMS, generator(0))
    with pytest.raises(ValueError, match=r"per_step: log_std is changed by inner steps; name it in not_adapted, too"):
        LSLR(per_step=("log_std",)).build().init(PARAMS, generator(0))
    with pytest.raises(ValueError, match=r"no parameter has step sizes step_sizes.NAME; there are body.0.weight, "):
        LSLR().build().start(PARAMS)


@pytest.mark.parametrize("rule", [SGD, MetaSGD, LSLR])
def test_a_rule_that_leaves_nothing_to_adapt_is_refused_where_parameters_are_made(rule: type[GradientRule]) -> None:
    """Before anything is written, not in the first iteration."""
    built = rule(not_adapted=("*",)).build()
    with pytest.raises(ValueError, match=r"leaves nothing to adapt|no parameter has"):
        built.init({"body.0.weight": torch.zeros(2, 2)}, torch.Generator())
