import functools
from typing import Any, cast

import numpy as np
import pytest
import torch
from conftest import generator, parameters, sgd
from numpy.typing import NDArray
from torch import Tensor

from metarl.engine.maml import Learner
from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.outer.adam import Adam
from metarl.engine.params import Params
from metarl.randomness import Purpose
from metarl.rl.episodes import PolicyBatch
from metarl.supervised.datasets.sinusoid import Sinusoid
from metarl.supervised.few_shot import few_shot_from_arrays
from metarl.supervised.networks.dense import Dense
from metarl.supervised.outer_losses import StepWeights
from metarl.supervised.outer_losses.last_step import LastStep
from metarl.supervised.outer_losses.multi_step import MultiStep
from metarl.supervised.pictures import picture
from metarl.supervised.problem import ExampleSettings, MetaSupervised
from metarl.supervised.tasks import Examples, KindName, TaskDistribution
from metarl.tasks import Split

SINUSOID = Sinusoid().build().distribution
SETTINGS = ExampleSettings(tasks=4, shots=5, queries=6, evaluation_queries=7, log_every=1, traced_tasks=2)


def problem(
    *,
    distribution: TaskDistribution | None = None,
    model: Model | None = None,
    inner_steps: int = 1,
    seed: int = 1,
    settings: ExampleSettings = SETTINGS,
    alpha: float = 0.01,
    kind: KindName = "regression",
    step_weights: StepWeights | None = None,
    compiled: bool = False,
) -> MetaSupervised:
    return MetaSupervised(
        distribution or SINUSOID,
        model or mlp((1, 40, 40, 1), "relu", std=0.01),
        kind,
        sgd(alpha),
        inner_steps=inner_steps,
        settings=settings,
        seed=seed,
        step_weights=step_weights,
        compiled=compiled,
    )


def centres() -> TaskDistribution:
    """Tasks are points c in the plane; every target is c. With the model f(x) = theta the loss is |theta - c|^2 / 2."""

    def sample_tasks(rng: np.random.Generator, n: int, split: Split) -> NDArray[np.float64]:
        return rng.random((n, 2)) * 4 - 1

    def examples(
        tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int
    ) -> tuple[Examples, Examples]:
        support, query = (torch.from_numpy(tasks)[:, None].expand(-1, n, 2) for n in (shots, queries))
        return Examples(torch.zeros_like(support), support), Examples(torch.zeros_like(query), query)

    return TaskDistribution(sample_tasks, examples, describe=str)


def point() -> Model:
    return Model(
        lambda g: {"point": torch.tensor([3.0, -2.0], dtype=torch.float64)},
        lambda params, inputs: params["point"].expand_as(inputs),
    )


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_whole_path_on_a_quadratic_family_has_the_closed_form(steps: int) -> None:
    """K steps of size a give theta' - c = (1 - a)^K (theta - c); Adam's meta-gradient and evaluation follow."""
    maml = problem(distribution=centres(), model=point(), inner_steps=steps, alpha=0.3)
    theta = maml.initial_parameters(0)
    tasks = torch.from_numpy(maml.sample_tasks(1, Purpose.TRAINING_TASKS, 5, count=4))
    distance, shrink = theta["point"] - tasks, 0.7**steps
    objective, metrics = maml.collect(theta, 5)
    loss, gradient = objective.loss_and_gradient(theta)
    assert loss == pytest.approx((0.5 * shrink**2 * (distance**2).sum(1)).mean().item(), rel=1e-12)
    torch.testing.assert_close(gradient["point"], shrink**2 * distance.mean(0))
    assert metrics[f"train/loss_step{steps}"] == pytest.approx(loss)
    held_out = maml.sample_tasks(1, Purpose.EVALUATION_TASKS, count=9)
    scores = maml.evaluate(theta, sgd(0.3), 3, held_out, 1).scores["loss"]
    away = ((theta["point"].numpy() - held_out) ** 2).sum(1)
    np.testing.assert_allclose(scores, [0.5 * 0.49**k * away for k in range(4)])
    optimiser = Adam(learning_rate=0.15).build()
    state = optimiser.init(theta)
    for iteration in range(70):
        theta, state, _ = optimiser.step(theta, state, maml.collect(theta, iteration)[0])
    torch.testing.assert_close(theta["point"], torch.ones(2, dtype=torch.float64), rtol=0, atol=0.4)  # mean of centres


def test_supervised_and_reinforcement_data_go_through_one_engine() -> None:
    """The same toy loss on the same numbers gives identical meta-gradients, whichever problem's batch carries them."""
    g = generator(0)
    inputs, targets = (torch.randn(3, 4, 2, 5, generator=g, dtype=torch.float64) for _ in range(2))
    theta: Params = {"w": torch.randn(5, 5, generator=g, dtype=torch.float64)}

    def gradient(batch: Examples | PolicyBatch, pair: tuple[str, str]) -> tuple[float, Params]:
        def predict(params: Params, one: Examples | PolicyBatch) -> Tensor:
            return getattr(one, pair[0]) @ params["w"]

        def loss(outputs: Tensor, one: Examples | PolicyBatch) -> Tensor:
            return (outputs - getattr(one, pair[1])).square().mean()

        functions = TaskFunctions(lambda task: loss(task.outputs, task.query))
        learner = Learner(sgd(0.1), lambda params, one: loss(predict(params, one), one), predict)
        return MetaObjective(theta, learner, functions, [batch], batch).loss_and_gradient(theta)

    nothing = torch.zeros(3, 4, 2, dtype=torch.float64)
    one = gradient(Examples(inputs, targets), ("inputs", "targets"))
    other = gradient(PolicyBatch(inputs, targets, *[nothing] * 4), ("observations", "actions"))
    assert one[0] == other[0]
    assert torch.equal(one[1]["w"], other[1]["w"])


def test_collect_is_keyed_by_seed_and_iteration() -> None:
    theta = problem().initial_parameters(0)
    first, again, later, other = (
        problem(seed=seed).collect(theta, iteration)[0].query.targets
        for seed, iteration in ((1, 3), (1, 3), (1, 4), (2, 3))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert not torch.equal(first, other)


def test_metrics_are_measured_every_so_many_iterations() -> None:
    maml = problem(settings=SETTINGS._replace(log_every=3), inner_steps=2)
    theta = maml.initial_parameters(0)
    for iteration in range(4):
        objective, metrics = maml.collect(theta, iteration)
        if iteration % 3:
            assert metrics == {}
        else:
            assert set(metrics) == {*(f"train/loss_step{k}" for k in range(3)), "time/sample", "time/adapt"}
            assert metrics["train/loss_step2"] == pytest.approx(objective.loss_and_gradient(theta)[0], rel=1e-5)
        assert len(objective.support) == 2


def test_evaluation_does_not_depend_on_how_many_tasks_are_scored_at_once() -> None:
    maml, larger = problem(), problem(settings=SETTINGS._replace(tasks=100))
    theta = maml.initial_parameters(0)
    tasks = maml.sample_tasks(1, Purpose.EVALUATION_TASKS, count=11)
    some, all_ = (one.evaluate(theta, sgd(0.01), 2, tasks, 1) for one in (maml, larger))
    for name, scores in some.scores.items():
        assert scores.shape == (3, 11)
        np.testing.assert_allclose(scores, all_.scores[name], rtol=1e-5)
    for name in some.traces:
        np.testing.assert_allclose(some.traces[name], all_.traces[name], rtol=1e-4, atol=1e-6)
    assert some.traces["outputs"].shape == (3, 2, 7, 1)
    few = maml.evaluate(theta, sgd(0.01), 2, tasks[:3], 1)
    np.testing.assert_allclose(few.scores["loss"], some.scores["loss"][:, :3], rtol=1e-5)


def test_validation_and_test_examples_have_random_numbers_of_their_own() -> None:
    """The same tasks, whatever they are for: only what is drawn for them differs."""
    maml = problem()
    theta, tasks = maml.initial_parameters(0), maml.sample_tasks(1, Purpose.EVALUATION_TASKS, count=2)
    plain, test, validation = (
        maml.evaluate(theta, sgd(0.01), 1, tasks, 1, **purpose).traces["query_inputs"]
        for purpose in ({}, {"purpose": Purpose.EVALUATION_TASKS}, {"purpose": Purpose.VALIDATION_TASKS})
    )
    np.testing.assert_array_equal(plain, test)
    assert not np.isin(validation, test).any()


def test_diverged_tasks_are_counted() -> None:
    maml = problem(distribution=centres(), model=point())
    tasks = maml.sample_tasks(1, Purpose.EVALUATION_TASKS, count=5)
    for alpha, expected in ((0.5, [0, 0, 0]), (3.0, [0, 0, 5]), (1e200, [0, 5, 5])):  # 3: twice the distance a step
        scores = maml.evaluate(maml.initial_parameters(0), sgd(alpha), 2, tasks, 1).scores
        assert scores["diverged"].sum(1).tolist() == expected
    scores = maml.evaluate({"point": torch.full((2,), 1e200, dtype=torch.float64)}, sgd(0.5), 1, tasks, 1).scores
    assert scores["diverged"].sum(1).tolist() == [5, 5]


def test_scores_choose_by_validation_after_the_steps_of_training() -> None:
    assert problem().score({"validation/loss_step0": 3.0, "validation/loss_step1": 2.0}) == -2.0
    assert problem(inner_steps=0).score({"validation/loss_step0": 3.0, "validation/loss_step1": 2.0}) == -3.0
    classifier = problem(kind="classification")
    assert classifier.score({"validation/loss_step1": 2.0, "validation/accuracy_step1": 0.5}) == 0.5
    assert problem().score({"train/loss_step1": 2.0}) is None


def test_sinusoid_is_learned_in_seconds() -> None:
    """250 iterations: one step of adaptation halves a loss that a network without adaptation cannot lower much."""
    maml = problem(settings=SETTINGS._replace(tasks=25, shots=10, queries=10, log_every=1000))
    theta, optimiser = maml.initial_parameters(1), Adam(learning_rate=1e-2).build()
    state = optimiser.init(theta)
    for iteration in range(250):
        theta, state, info = optimiser.step(theta, state, maml.collect(theta, iteration)[0])
        assert info["nonfinite"] == 0
    tasks = maml.sample_tasks(1, Purpose.EVALUATION_TASKS, count=100)
    loss = maml.evaluate(theta, sgd(0.01), 1, tasks, 1).scores["loss"].mean(1)
    assert loss[1] < 0.5 * loss[0]
    assert loss[1] < 1.6


def test_pictures_show_one_task_before_and_after() -> None:
    maml = problem()
    theta = maml.initial_parameters(0)
    tasks = maml.sample_tasks(1, Purpose.VALIDATION_TASKS, count=2)
    films = maml.pictures(theta, sgd(0.01), 2, tasks, 1, 1)
    assert len(films) == 3
    assert all(film.frames.shape[0] == 1 and film.frames.shape[3] == 3 for film in films)
    assert films[0].captions[0].startswith("loss ")
    assert films[0].title == f"amplitude {tasks[1, 0]:.2f}, phase {tasks[1, 1]:.2f}"


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ValueError, match="inner_steps must be at least 0; got -1"):
        problem(inner_steps=-1)
    with pytest.raises(ValueError, match="unknown kind of problem 'ranking': choose one of regression, classification"):
        problem(kind=cast(Any, "ranking"))


def test_each_purpose_draws_from_its_split() -> None:
    """Parameters are chosen on validation tasks, and test tasks are for the end."""

    def sample_tasks(rng: np.random.Generator, n: int, split: Split) -> NDArray[np.float64]:
        return np.full((n, 1), {"train": 1.0, "validation": 2.0, "test": 3.0}[split])

    maml = problem(distribution=SINUSOID._replace(sample_tasks=sample_tasks))
    purposes = (Purpose.TRAINING_TASKS, Purpose.VALIDATION_TASKS, Purpose.EVALUATION_TASKS)
    assert [maml.sample_tasks(1, purpose, count=1).item() for purpose in purposes] == [1.0, 2.0, 3.0]


def classifier(*, transductive: bool) -> MetaSupervised:
    images = np.random.default_rng(0).random((60, 4, 4, 1))
    tasks = few_shot_from_arrays(images, np.arange(60) % 12, ways=2)
    return MetaSupervised(
        tasks.distribution,
        Dense(hidden_sizes=(6,)).build(tasks.input_shape, tasks.outputs, tasks.kind),
        tasks.kind,
        sgd(0.5),
        inner_steps=1,
        settings=SETTINGS._replace(shots=1, queries=2, evaluation_queries=2, traced_tasks=4, transductive=transductive),
        seed=1,
    )


def test_without_transduction_a_query_is_predicted_from_itself_and_the_support() -> None:
    traces = []
    for flag in (True, False):
        maml = classifier(transductive=flag)
        theta = maml.initial_parameters(0)
        tasks = maml.sample_tasks(1, Purpose.EVALUATION_TASKS, count=4)
        evaluation = maml.evaluate(theta, sgd(0.5), 1, tasks, 1)
        traces.append(evaluation.traces)
        assert set(evaluation.scores) == {"loss", "accuracy", "diverged"}
    assert not np.allclose(traces[0]["outputs"], traces[1]["outputs"], atol=1e-4)
    for task in range(4):
        support, query = (torch.from_numpy(traces[1][f"{name}_inputs"][task]) for name in ("support", "query"))
        for i in range(len(query)):
            expected = maml.model.apply(theta, torch.cat([support, query[i : i + 1]]))[-1]
            np.testing.assert_allclose(traces[1]["outputs"][0, task, i], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (4, 4, 1), (5, 4, 2), (4, 6, 3)])
def test_whatever_inputs_are_is_drawn(shape: tuple[int, ...]) -> None:
    inputs = np.random.default_rng(0).standard_normal((4, *shape)).astype(np.float32)
    labels, outputs = np.array([0, 0, 1, 1]), np.zeros((1, 4, 2), np.float32)
    trace = {"support_inputs": inputs, "support_targets": labels, "query_inputs": inputs, "query_targets": labels}
    drawn = picture(cast(Any, trace | {"outputs": outputs}), 0)
    assert drawn.shape[2] == 3
    assert np.ptp(drawn) > 0


@pytest.mark.parametrize("iteration", [0, 3, 9, 10])
def test_the_multi_step_loss_equals_a_loop_over_steps(iteration: int) -> None:
    """MAML++'s outer loss and its gradient against double backward through a loop, in float64; its weights by hand."""
    early = {0: 1 / 3, 3: 0.7 / 3, 9: 0.1 / 3, 10: 0.0}[iteration]  # of each of the first two of three steps
    model = mlp((1, 5, 1), "tanh")
    maml = problem(model=model, inner_steps=3, alpha=0.1, step_weights=MultiStep(annealing_iterations=10).build(3))
    theta = parameters(model)
    objective, _ = maml.collect({name: leaf.float() for name, leaf in theta.items()}, iteration)
    support, query = (
        type(batch)(*(field.double() for field in batch)) for batch in (objective.support[0], objective.query)
    )
    exact = MetaObjective(theta, maml.learner, maml.functions, [support] * 3, query)
    loss, gradient = exact.loss_and_gradient(theta)

    leaves = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    total = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        fast = dict(leaves)
        for weight in (early, early, 1 - 2 * early):
            inner = (model.apply(fast, support.inputs[i]) - support.targets[i]).square().mean()
            steps = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
            fast = {name: leaf - 0.1 * step for (name, leaf), step in zip(fast.items(), steps, strict=True)}
            total = total + weight * (model.apply(fast, query.inputs[i]) - query.targets[i]).square().mean()
    expected = torch.autograd.grad(total / 4, list(leaves.values()))
    # The weights themselves are of single precision.
    assert loss == pytest.approx(total.item() / 4, rel=1e-7)
    for (name, leaf), other in zip(gradient.items(), expected, strict=True):
        torch.testing.assert_close(leaf, other, rtol=1e-6, atol=1e-9, msg=name)


def test_the_last_step_alone_counts_after_annealing() -> None:
    """From then on the loss and its gradient are those of `last_step`."""
    theta = problem().initial_parameters(0)
    many = problem(inner_steps=2, step_weights=MultiStep(annealing_iterations=5).build(2))
    one = problem(inner_steps=2)
    for iteration, same in ((4, False), (5, True), (6, True)):
        (loss, gradient), (other, expected) = (
            maml.collect(theta, iteration)[0].loss_and_gradient(theta) for maml in (many, one)
        )
        assert (loss == pytest.approx(other, rel=1e-6)) == same
        if same:
            torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_weights_of_steps_add_up_and_earlier_ones_keep_a_little_until_the_end() -> None:
    weights = MultiStep(annealing_iterations=1000).build(4)
    for iteration in range(0, 1200, 7):
        assert sum(weights(iteration)) == pytest.approx(1)
    assert weights(0) == [0.25] * 4
    assert weights(999)[:3] == pytest.approx([0.03 / 4] * 3)
    assert weights(1000) == [0, 0, 0, 1]
    assert LastStep().build(1) is None
    with pytest.raises(ValueError, match="multi_step needs at least 2 inner steps in training; got 1: choose"):
        MultiStep().build(1)


def test_compiled_multi_step_gradients_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """One compilation serves all iterations, whatever their weights."""
    calls = []

    def backend(graph: Any, inputs: Any) -> Any:
        calls.append(0)
        return graph.forward

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    theta = problem().initial_parameters(0)
    both = [
        problem(inner_steps=2, step_weights=MultiStep(annealing_iterations=5).build(2), compiled=flag)
        for flag in (False, True)
    ]
    for iteration in (0, 3, 7):
        plain, compiled = (maml.collect(theta, iteration)[0].loss_and_gradient(theta) for maml in both)
        assert compiled[0] == pytest.approx(plain[0], rel=1e-6)
        torch.testing.assert_close(compiled[1], plain[1], rtol=1e-4, atol=1e-6)
    assert len(calls) == 1


@pytest.mark.parametrize(("hidden", "sizes"), [(40, [4]), (500, [2, 2]), (800, [1, 1, 1, 1])])
def test_tasks_of_large_networks_are_differentiated_some_at_a_time(
    hidden: int, sizes: list[int], tasks_at_a_time: list[int]
) -> None:
    maml = problem(model=mlp((1, hidden, hidden, 1), "relu", std=0.01))
    theta = maml.initial_parameters(0)
    maml.collect(theta, 1)[0].loss_and_gradient(theta)
    assert tasks_at_a_time == sizes
