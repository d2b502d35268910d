import dataclasses
import math
from typing import Any, cast

import pytest
import torch
from conftest import TASKS, Regression, gaussian_mlp, learner_of, parameters, policy_objective, regression, sgd
from oracles import dense_hessian, task

from metarl.engine.curvature import CURVATURES, EPSILON, FINITE_DIFFERENCES
from metarl.engine.maml import AdaptedTask
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.outer import OUTERS, Info, OuterOptimizer, State, refused
from metarl.engine.outer.adam import Adam
from metarl.engine.outer.ppo import PPO
from metarl.engine.outer.promp import ProMP
from metarl.engine.outer.reptile import Reptile
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params, add, ravel
from metarl.engine.schedules import Schedule, Share
from metarl.engine.schedules.cosine import Cosine
from metarl.engine.solvers import Matvec
from metarl.rl.losses import mean_kl


def regression_objective(model: Model, theta: Params, scale: float = 1.0) -> MetaObjective:
    functions = TaskFunctions(lambda task: scale * ((task.outputs - task.query.targets) ** 2).mean())
    support, query = (Regression(*(field.to(ravel(theta)) for field in regression(seed))) for seed in (0, 1))
    return MetaObjective(theta, learner_of(model, sgd(0.1)), functions, [support], query)


def trpo(**options: Any) -> OuterOptimizer:
    """With all of the data and a tight solution where nothing else is said."""
    return TRPO(**{"curvature_fraction": 1.0, "curvature_tasks": 1.0, "cg_iterations": 10, **options}).build()


@pytest.mark.parametrize("scheduled", [False, True])
def test_adam_and_the_cosine_schedule_equal_torchs(scheduled: bool) -> None:
    """Eight outer steps in float64, of which the schedule is over after 5; from there the learning rate stays."""
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    schedule: dict[str, Any] = {"schedule": Cosine(schedule_steps=5, final_share=0.2)} if scheduled else {}
    optimiser = Adam(learning_rate=0.1, **schedule).build()
    state = optimiser.init(theta)
    reference = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    torch_adam = torch.optim.Adam(reference.values(), lr=0.1)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(torch_adam, T_max=5, eta_min=0.02)
    for taken in range(8):
        _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
        for name, leaf in reference.items():
            leaf.grad = gradient[name].clone()
        torch_adam.step()
        # Torch's would rise again.
        if scheduled and taken < 5:
            torchs.step()
        theta, state, info = optimiser.step(theta, state, regression_objective(model, theta))
        assert info["nonfinite"] == 0
        for name, leaf in reference.items():
            torch.testing.assert_close(theta[name], leaf.detach(), rtol=1e-9, atol=1e-12)


def test_the_schedule_counts_adams_steps_that_were_taken() -> None:
    """Those of every epoch of PPO, not those that were refused; and it goes on from a state that was stored."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(4,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    asked = []

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Asked(Schedule):
        def build(self) -> Share:
            return lambda taken: (asked.append(taken), 0.5)[1]

    optimiser = PPO(epochs=3, schedule=Asked()).build()
    state = optimiser.init(theta)
    moved, state, _ = optimiser.step(theta, state, objective)
    broken = objective.query._replace(advantages=objective.query.advantages * float("nan"))
    spoiled = MetaObjective(theta, objective.learner, objective.functions, objective.support, broken)
    _, same, info = optimiser.step(moved, state, spoiled)
    assert info["nonfinite"] == 1
    optimiser.step(moved, same, objective)
    assert asked == [0, 1, 2, 3, 4, 5]
    half = PPO(epochs=3, learning_rate=5e-4).build()
    assert torch.equal(ravel(half.step(theta, half.init(theta), objective)[0]), ravel(moved))


@pytest.mark.parametrize("share", [-0.1, math.nan, math.inf])
def test_a_schedule_of_ones_own_must_not_turn_adam_round(share: float) -> None:
    class Own(Schedule):
        def build(self) -> Share:
            return lambda taken: share if taken else 1.0

    adam = Adam(schedule=Own()).build()
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    objective = regression_objective(model, theta)
    theta, state, _ = adam.step(theta, adam.init(theta), objective)
    with pytest.raises(ValueError, match=rf"a schedule must give shares .* got {share} after 1 steps"):
        adam.step(theta, state, objective)


@pytest.mark.parametrize("kind", [Adam, PPO, ProMP])
def test_a_cosine_without_its_length_is_refused(kind: type[Adam]) -> None:
    with pytest.raises(ValueError, match=r"schedule cosine needs schedule_steps, .*: give --schedule-steps, usually"):
        kind(schedule=Cosine()).build()


def test_adam_refuses_what_overflows() -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = {name: leaf.float() for name, leaf in parameters(model).items()}
    optimiser = Adam(learning_rate=1e308).build()
    state = optimiser.init(theta)
    same, unchanged, info = optimiser.step(theta, state, regression_objective(model, theta))
    assert same is theta and unchanged is state
    assert (info["nonfinite"], info["nonfinite_parameters"]) == (1, 1)


@pytest.mark.parametrize("curvature", sorted(CURVATURES))
def test_trpo_improves_within_the_trust_region(policy: Model, curvature: str) -> None:
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    old_loss, _ = objective.loss_and_divergence(theta)
    new, _, info = trpo(max_kl=0.01, curvature=curvature).step(theta, {}, objective)
    loss, divergence = objective.loss_and_divergence(new)
    assert info["accepted"] == 1
    assert loss < old_loss
    assert 0 < divergence <= 0.01
    assert info["kl"] == pytest.approx(divergence, rel=1e-9)
    assert info["improvement"] == pytest.approx(old_loss - loss, rel=1e-6)


def test_trpo_takes_the_natural_gradient_step_of_the_trust_regions_length() -> None:
    """new - theta = - sqrt(2 delta / s^T (H + damping I) s) s with s = (H + damping I)^-1 g, from the dense Hessian."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    max_kl, damping = 1e-6, 0.1
    optimiser = trpo(max_kl=max_kl, curvature="exact", cg_damping=damping, cg_iterations=200, cg_tolerance=1e-24)
    new, _, info = optimiser.step(theta, {}, objective)
    g = ravel(objective.loss_and_gradient(theta)[1])
    damped = dense_hessian(objective, theta) + damping * torch.eye(len(g), dtype=torch.float64)
    s = torch.linalg.solve(damped, g)
    expected = -((2 * max_kl / (s.dot(g) + 1e-8)) ** 0.5) * s
    assert (info["accepted"], info["backtracks"]) == (1, 0)
    torch.testing.assert_close(ravel(new) - ravel(theta), expected, rtol=1e-6, atol=1e-10)
    assert 0 < info["kl"] <= max_kl


class Recorder:
    """Stands in for an objective: answers a quadratic, and remembers how its curvature was asked for."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.asked: tuple[Any, ...] = ()

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        return 1.0, {"x": torch.ones_like(theta["x"])}

    def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
        self.asked = (kind, fraction, tasks, options)
        return lambda v: self.factor * v

    def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
        return 0.0, 0.0


THREE_ZEROS = {"x": torch.zeros(3, dtype=torch.float64)}


@pytest.mark.parametrize(
    ("kind", "options"), [("forward", {"epsilon": 0.5}), ("symmetric", {"epsilon": 0.5}), ("gauss_newton", {})]
)
def test_trpo_passes_its_curvature_options_on(kind: str, options: dict) -> None:
    recorder = Recorder()
    epsilon = options.get("epsilon")
    optimiser = trpo(curvature=kind, curvature_fraction=0.3, curvature_tasks=0.7, finite_difference_epsilon=epsilon)
    optimiser.step(THREE_ZEROS, {}, cast(MetaObjective, recorder))
    assert recorder.asked == (kind, 0.3, 0.7, options)


@pytest.mark.parametrize("factor", [-1.0, 0.0, float("nan")])
@pytest.mark.parametrize("kind", ["symmetric", "gauss_newton"])
def test_trpo_refuses_where_there_is_no_positive_curvature(factor: float, kind: str) -> None:
    optimiser = trpo(max_kl=0.01, cg_damping=0.0, curvature=kind)
    new, _, info = optimiser.step(THREE_ZEROS, {}, cast(MetaObjective, Recorder(factor)))
    assert torch.equal(new["x"], THREE_ZEROS["x"])
    assert (info["accepted"], info["cg_iterations"]) == (0, 0)
    assert info["nonfinite"] == float(math.isnan(factor))


class Spoiled(Recorder):
    """Products that are not finite from the second on."""

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        return 1.0, {"x": torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)}

    def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
        scales = iter([torch.tensor([1.0, 2.0, 3.0]), torch.tensor(math.nan)])
        return lambda v: next(scales) * v


def test_trpo_refuses_where_a_later_product_is_not_finite() -> None:
    new, _, info = trpo(max_kl=0.01).step(THREE_ZEROS, {}, cast(MetaObjective, Spoiled()))
    assert torch.equal(new["x"], THREE_ZEROS["x"])
    assert (info["accepted"], info["nonfinite"], info["cg_iterations"]) == (0, 1, 1)


@pytest.mark.parametrize(("kind", "expected"), [("gauss_newton", 2), ("symmetric", 3)])
def test_only_finite_differences_spend_a_product_on_the_steps_length(kind: str, expected: int) -> None:
    """They are not linear, so that conjugate gradient's own s^T H s is not theirs."""
    calls = []

    class Counting(Spoiled):
        def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
            return lambda v: (calls.append(0), torch.tensor([1.0, 2.0, 3.0]) * v)[1]

    trpo(max_kl=0.01, cg_iterations=2, curvature=kind).step(THREE_ZEROS, {}, cast(MetaObjective, Counting()))
    assert len(calls) == expected


def test_unknown_curvature_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(ValueError, match=r"curvature must be .*; got .?newton"):
        TRPO(curvature=cast(Any, "newton"))


def test_trpo_keeps_the_old_parameters_when_nothing_qualifies() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    functions = objective.functions._replace(divergence=lambda old, new, batch: mean_kl(old, new, batch) + 1.0)
    stuck = MetaObjective(theta, objective.learner, functions, objective.support, objective.query)
    new, _, info = trpo(max_kl=0.01).step(theta, {}, stuck)
    assert torch.equal(ravel(new), ravel(theta))
    assert (info["accepted"], info["backtracks"], info["improvement"], info["kl"]) == (0, 15, 0, 0)


@pytest.mark.parametrize(("losses", "broken"), [([2.0, 2.0], 0), ([math.nan, 2.0], 0), ([math.nan, math.nan], 1)])
def test_a_line_search_is_broken_where_every_length_is(losses: list[float], broken: int) -> None:
    class Tried(Recorder):
        def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
            return losses.pop(), 0.0

    _, _, info = trpo(max_backtracks=2).step(THREE_ZEROS, {}, cast(MetaObjective, Tried()))
    assert (info["accepted"], info["nonfinite"], info.get("nonfinite_loss", 0)) == (0, broken, broken)


@pytest.mark.parametrize("name", OUTERS.names)
def test_a_non_finite_gradient_never_reaches_theta(name: str) -> None:
    optimiser, policy = OUTERS.find(name)().build(), gaussian_mlp(2, 2, hidden_sizes=(8,))
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    broken = objective.query._replace(advantages=objective.query.advantages * float("nan"))
    spoiled = MetaObjective(theta, objective.learner, objective.functions, objective.support, broken)
    new, state, info = optimiser.step(theta, optimiser.init(theta), spoiled)
    assert set(info) >= {metric.name.removeprefix("outer/") for metric in optimiser.measures if "{" not in metric.name}
    assert torch.equal(ravel(new), ravel(theta))
    assert info["nonfinite"] == 1
    assert all(torch.isfinite(value).all() for value in state.values())


@pytest.mark.parametrize("name", ["adam", "trpo"])  # which ask first for the loss and its gradient
@pytest.mark.parametrize(
    ("loss", "entry", "reasons"),
    [
        (1.0, math.inf, {"nonfinite_gradient"}),
        (math.nan, 1.0, {"nonfinite_loss"}),
        (math.nan, math.nan, {"nonfinite_loss", "nonfinite_gradient"}),
    ],
)
def test_what_is_not_finite_is_named(name: str, loss: float, entry: float, reasons: set[str]) -> None:
    class Broken:
        def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
            return loss, {"x": torch.tensor([1.0, entry, 1.0], dtype=torch.float64)}

    optimiser = OUTERS.find(name)().build()
    new, _, info = optimiser.step(THREE_ZEROS, optimiser.init(THREE_ZEROS), cast(MetaObjective, Broken()))
    assert torch.equal(new["x"], THREE_ZEROS["x"])
    assert {key for key in info if key.startswith("nonfinite_")} == reasons
    assert info["nonfinite"] == 1


def test_the_registered_optimisers() -> None:
    assert set(OUTERS.names) >= {"adam", "trpo", "ppo", "promp", "reptile"}


def test_adams_options_are_torchs() -> None:
    """Each of them away from its default, with a gradient whose entries the limit cuts and does not cut."""
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
    limit = ravel(gradient).abs().median().item()
    part = Adam(learning_rate=0.02, adam_beta1=0.5, adam_beta2=0.7, adam_epsilon=0.05, gradient_clip=limit)
    optimiser = part.build()
    state = optimiser.init(theta)
    reference = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    torch_adam = torch.optim.Adam(reference.values(), lr=0.02, betas=(0.5, 0.7), eps=0.05)
    for _ in range(4):
        _, gradient = regression_objective(model, theta).loss_and_gradient(theta)
        for name, leaf in reference.items():
            leaf.grad = gradient[name].clone()
        torch.nn.utils.clip_grad_value_(reference.values(), limit)
        torch_adam.step()
        theta, state, info = optimiser.step(theta, state, regression_objective(model, theta))
        assert info["grad_norm"] == pytest.approx(ravel(gradient).norm().item())  # before it is cut
    for name, leaf in reference.items():
        torch.testing.assert_close(theta[name], leaf.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_gradient_is_cut_on_both_sides(sign: float) -> None:
    class Steep(Recorder):
        def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
            return 1.0, {"x": sign * torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)}

    optimiser = Adam(gradient_clip=2.0, adam_beta1=0.0).build()
    _, state, _ = optimiser.step(THREE_ZEROS, optimiser.init(THREE_ZEROS), cast(MetaObjective, Steep()))
    assert state["mean"].tolist() == [sign * 0.5, sign * 2.0, sign * 2.0]


CHANGED: dict[str, Any] = {
    "max_kl": 0.02,
    "curvature": "symmetric",
    "curvature_fraction": 0.5,
    "curvature_tasks": 0.4,
    "cg_iterations": 1,
    "cg_damping": 0.1,
    "cg_tolerance": 1.0,
    "backtrack_ratio": 0.5,
    "max_backtracks": 1,
    "finite_difference_epsilon": 0.1,
}


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(TRPO)])
def test_every_option_of_trpo_changes_the_step(name: str) -> None:
    """From a common start whose first step is too long, so that the line search has something to do."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8, 8), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    common = {"max_kl": 1.0, "curvature_fraction": 1.0, "curvature_tasks": 1.0, "cg_iterations": 3}
    if name == "finite_difference_epsilon":
        common["curvature"] = "forward"
    before, after = (
        TRPO(**{**common, **changes}).build().step(theta, {}, objective) for changes in ({}, {name: CHANGED[name]})
    )
    assert before[2]["backtracks"] > 0
    assert not torch.equal(ravel(before[0]), ravel(after[0]))


def test_the_default_epsilon() -> None:
    recorder = Recorder()
    trpo(curvature="forward").step(THREE_ZEROS, {}, cast(MetaObjective, recorder))
    assert recorder.asked[-1] == {"epsilon": EPSILON}


@pytest.mark.parametrize("curvature", [name for name, kind in CURVATURES.items() if kind not in FINITE_DIFFERENCES])
def test_an_epsilon_that_nothing_takes_is_refused(curvature: Any) -> None:
    with pytest.raises(ValueError, match=f"finite_difference_epsilon means nothing for curvature {curvature}"):
        TRPO(curvature=curvature, finite_difference_epsilon=0.1)


@pytest.mark.parametrize("kind", ["gauss_newton", "symmetric"])
def test_damping_counts_in_the_steps_length(kind: str) -> None:
    """H = 0 and damping d: s = g / d, s^T (H + d I) s = g^T g / d, a step of sqrt(2 max_kl d) / |g| times g / d."""
    optimiser = trpo(max_kl=0.5, cg_damping=0.25, curvature=kind)
    new, _, info = optimiser.step(THREE_ZEROS, {}, cast(MetaObjective, Recorder(factor=0.0)))
    assert info["accepted"] == 1
    expected = -math.sqrt(2 * 0.5 * 0.25 / 3) / 0.25
    torch.testing.assert_close(new["x"], torch.full((3,), expected, dtype=torch.float64), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        (TRPO, {"max_kl": 0.0}, "max_kl must be a positive number; got 0.0"),
        (TRPO, {"curvature_fraction": 1.5}, r"curvature_fraction must be in \(0, 1\]; got 1.5"),
        (TRPO, {"curvature_tasks": 0.0}, r"curvature_tasks must be in \(0, 1\]; got 0.0"),
        (TRPO, {"cg_iterations": 0}, "cg_iterations must be at least 1; got 0"),
        (TRPO, {"cg_damping": -1.0}, "cg_damping must be a finite number, at least 0; got -1.0"),
        (TRPO, {"backtrack_ratio": 1.0}, "backtrack_ratio must be below 1; got 1.0"),
        (TRPO, {"max_backtracks": 0}, "max_backtracks must be at least 1; got 0"),
        (TRPO, {"curvature": "forward", "finite_difference_epsilon": 0.0}, "finite_difference_epsilon must be a pos"),
        (Adam, {"learning_rate": float("nan")}, "learning_rate must be a positive number; got nan"),
        (Adam, {"adam_beta1": 1.0}, "adam_beta1 must be below 1; got 1.0"),
        (PPO, {"epochs": 0}, "epochs must be at least 1; got 0"),
        (PPO, {"clip": 1.0}, "clip must be below 1; got 1.0"),
        (ProMP, {"kl_penalty": -1.0}, "kl_penalty must be a finite number, at least 0; got -1.0"),
        (ProMP, {"kl_target": 0.0}, "kl_target must be a positive number; got 0.0"),
        (Reptile, {"meta_step_size": 1.5}, r"meta_step_size must be in \(0, 1\]; got 1.5"),
        (Adam, {"gradient_clip": 0.0}, "gradient_clip must be a positive number; got 0.0"),
    ],
)
def test_impossible_options_are_refused(part: Any, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        part(**options)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_reptile_moves_towards_the_mean_of_the_adapted(share: float) -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    objective = regression_objective(model, theta)
    new, _, info = Reptile(meta_step_size=share).build().step(theta, {}, objective)
    adapted = [objective.learner.adapt(theta, [task(batch, i) for batch in objective.support]) for i in range(TASKS)]
    for name, leaf in theta.items():
        mean = torch.stack([one[name] for one in adapted]).mean(0)
        torch.testing.assert_close(new[name], leaf + share * (mean - leaf), rtol=1e-12, atol=1e-14)
    assert info["loss"] == pytest.approx(objective.loss_and_gradient(theta)[0], rel=1e-12)


def test_an_optimiser_of_users_may_take_several_steps_under_its_own_loss(policy: Model) -> None:
    """Plain gradient steps on a loss of one's own: one function, which needs nothing else of the engine."""

    def timid(adapted: AdaptedTask) -> torch.Tensor:
        log_probs = adapted.outputs.log_prob(adapted.query.actions)
        distance = (log_probs - adapted.query.log_probs).square().mean()
        return 0.1 * distance - (log_probs * adapted.query.advantages).mean()

    def step(theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        objective, losses = objective.with_outer_loss(timid), []
        for _ in range(6):
            loss, gradient = objective.loss_and_gradient(theta)
            theta = add(theta, gradient, -0.05)
            losses.append(loss)
        return theta, state, {"first": losses[0], "last": losses[-1]}

    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    _, _, info = OuterOptimizer(lambda theta: {}, step).step(theta, {}, objective)
    assert info["last"] < info["first"]


@pytest.mark.parametrize(
    ("outer", "iterations", "words"),
    [
        (
            Adam(schedule=Cosine(schedule_steps=4)),
            10,
            "after 4 of 10 steps of Adam, in iteration 4 of 10: --schedule-steps 10",
        ),
        (Adam(schedule=Cosine(schedule_steps=10)), 10, ""),
        (
            PPO(schedule=Cosine(schedule_steps=10), epochs=2, minibatches=3),
            10,
            "10 of 60 steps of Adam, in iteration 1 of",
        ),
        (ProMP(schedule=Cosine(schedule_steps=10), epochs=2), 5, ""),
        (PPO(schedule=Cosine(schedule_steps=10), target_kl=0.1), 10, ""),
        (Adam(), 10, ""),
        (TRPO(), 10, ""),
    ],
)
def test_a_schedule_that_is_over_before_the_training_is_told(outer: Any, iterations: int, words: str) -> None:
    remarks = outer.remarks(iterations)
    assert len(remarks) == bool(words)
    assert all(words in remark for remark in remarks)


def test_a_step_that_is_not_finite_is_refused_whatever_else_it_says() -> None:
    """An optimiser accepts its step, and the loop refuses its parameters."""
    assert refused({"nonfinite": 1.0, "accepted": 1.0})
    assert refused({"nonfinite": 0.0, "accepted": 0.0})
    assert not refused({"nonfinite": 0.0, "accepted": 1.0})
    assert not refused({"nonfinite": 0.0})
