"""Algorithm 2 of Finn et al. 2017 as a Problem: one meta-iteration of supervised MAML, and its evaluation."""

import dataclasses
import functools
import time
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import vmap

from metarl.arguments import require_built, require_integers
from metarl.engine.gradients import gradients_of
from metarl.engine.maml import Learner
from metarl.engine.model import Model
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule
from metarl.engine.soundness import require_sound_outer_loss, require_sound_steps, sound_parameters
from metarl.metrics import over_ranks
from metarl.problem import Evaluation, Film, Metrics
from metarl.randomness import PICTURES_OF, SPLIT_OF, Purpose, numpy_generator, torch_generator
from metarl.shard import ALONE, Shard
from metarl.supervised.drawing import (
    Both,
    draw_examples,
    draw_tasks,
    require_labels,
    require_sound_examples,
    require_sound_tasks,
)
from metarl.supervised.losses import KINDS, WeightedExamples, after_each_step, after_last_step
from metarl.supervised.metrics import headline, measures
from metarl.supervised.outer_losses import StepWeights
from metarl.supervised.tasks import Examples, KindName, TaskDistribution

MOST = 2**19
"""Parameters of the tasks whose meta-gradient is computed at a time, in all: four tasks of Omniglot's network."""
EXAMPLES = {  # what tasks were drawn for -> the key of their examples
    Purpose.VALIDATION_TASKS: Purpose.VALIDATION_EXAMPLES,
    Purpose.EVALUATION_TASKS: Purpose.EVALUATION_EXAMPLES,
}


class ExampleSettings(NamedTuple):
    """Numbers of tasks and examples."""

    tasks: int  # M tasks per meta-batch; also how many are evaluated at once
    shots: int  # support examples (of each class)
    queries: int  # query examples (of each class) of a training task
    evaluation_queries: int
    log_every: int  # iterations between those whose `train/*` metrics are measured
    traced_tasks: int = 0  # tasks whose examples and outputs `evaluate` keeps for figures
    transductive: bool = True
    """Whether a test task's queries are predicted together, so that batch norm has the statistics of all queries.
    Otherwise each query is predicted in a batch with the support alone (Nichol et al. 2018, section 6.1)."""


class MetaSupervised:
    """Supervised MAML: draw support and query examples, of which the outer optimiser's objective is made.

    Args:
        distribution: tasks and their examples.
        model: inputs -> outputs.
        kind: a key of `losses.KINDS`.
        rule: the inner rule.
        inner_steps: K, all on the same support examples; 0 trains without adaptation.
        settings: numbers of tasks and examples.
        seed: key of everything random.
        device: where parameters and examples live.
        compiled: see `gradients.gradients_of`.
        shard: which tasks of a meta-batch this process trains on. Every rank draws the examples of all, which is cheap.
        step_weights: the weights of the losses after inner steps 1 .. K in the outer loss; None: the last one alone.

    Raises:
        ValueError: a part that is not built, the kind is unknown, numbers out of their bounds, or more ranks
            than tasks; (by the first `collect`) a rule that does not do what it must: see `soundness`.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        model: Model,
        kind: KindName,
        rule: InnerRule,
        *,
        inner_steps: int,
        settings: ExampleSettings,
        seed: int,
        device: str = "cpu",
        compiled: bool = False,
        shard: Shard = ALONE,
        step_weights: StepWeights | None = None,
    ) -> None:
        require_built(model=(model, Model), rule=(rule, InnerRule))
        if kind not in KINDS:
            raise ValueError(f"unknown kind of problem {kind!r}: choose one of {', '.join(KINDS)}")
        require_integers(0, inner_steps=inner_steps, seed=seed, traced_tasks=settings.traced_tasks)
        sizes = ("tasks", "shots", "queries", "evaluation_queries", "log_every")
        require_integers(1, **{name: getattr(settings, name) for name in sizes})
        self.distribution = distribution
        self.model = model
        self.inner_steps = inner_steps
        self.settings = settings
        self.seed = seed
        self.device = torch.device(device)
        self._shard = shard
        self._local = shard.tasks(settings.tasks)
        self._kind_name: KindName = kind
        self._kind = KINDS[kind]
        loss = self._kind.loss
        self.measures = measures(kind)
        self._headline = headline(kind)
        self.learner = Learner(
            rule,
            inner_loss=lambda params, batch: loss(model.apply(params, batch.inputs), batch),
            predict=lambda params, batch: model.apply(params, batch.inputs),
        )
        self._step_weights = step_weights
        self.functions = TaskFunctions(
            after_each_step(loss, self.learner.predict) if step_weights else after_last_step(loss)
        )
        self._is_sound = False  # whether the rule was checked
        self.gradients = gradients_of(self.learner, self.functions.outer_loss, compiled=compiled, most=MOST)

    def initial_parameters(self, seed: int) -> Params:
        """Fresh model parameters, with what the inner rule meta-learns."""
        generator = torch_generator(seed, Purpose.PARAMETERS)
        theta = sound_parameters(self.learner.rule, self.model.init(generator), generator)
        return {name: leaf.to(self.device) for name, leaf in theta.items()}

    def sample_tasks(self, seed: int, purpose: Purpose, *key: int, count: int) -> NDArray[np.float64]:
        """`count` tasks [count, k] of the purpose's split; task i depends on (seed, purpose, key, i) alone."""
        return draw_tasks(self.distribution, numpy_generator(seed, purpose, *key), count, SPLIT_OF[purpose])

    def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
        """Sample tasks with their support and query examples; build the outer objective.

        Metrics are measured every `log_every` iterations; the others have none.
        """
        start = time.perf_counter()
        settings = self.settings
        tasks = self.sample_tasks(self.seed, Purpose.TRAINING_TASKS, iteration, count=settings.tasks)
        if not self._is_sound:
            again = self.sample_tasks(self.seed, Purpose.TRAINING_TASKS, iteration, count=settings.tasks)
            require_sound_tasks(tasks, again)
        here = slice(self._local.start, self._local.stop)
        drawn = self._training_examples(tasks, theta, iteration)
        if not self._is_sound:
            require_sound_examples(drawn, self._training_examples(tasks, theta, iteration))
        support, query = (Examples(*(field[here] for field in examples)) for examples in drawn)
        steps = [support] * self.inner_steps
        weighted = self._weighted(query, iteration)
        if not self._is_sound:
            # Scores before any step look at the labels and shapes of all that was drawn.
            self._after_each_step(theta, self.learner, 0, support, query)
            if steps:
                require_sound_steps(self.learner, theta, support)
            require_sound_outer_loss(self.learner, self.functions.outer_loss, theta, steps, weighted)
            self._is_sound = True
        objective = MetaObjective(
            theta,
            self.learner,
            self.functions,
            steps,
            weighted,
            num_tasks=settings.tasks,
            first_task=self._local.start,
            reduce=self._shard.reduce,
            gradients=self.gradients,
        )
        if iteration % settings.log_every != 0:
            return objective, {}
        sampled = time.perf_counter()
        metrics = self._metrics(theta, support, query)
        metrics["time/sample"] = sampled - start
        metrics["time/adapt"] = time.perf_counter() - sampled
        return objective, metrics

    def _metrics(self, theta: Params, support: Examples, query: Examples) -> Metrics:
        """The scores of the whole meta-batch after each inner step, from sums over the local tasks."""
        measured = self._after_each_step(theta, self.learner, self.inner_steps, support, query)
        totals = {
            f"train/{name}_step{k}": (score.sum(dtype=torch.float64), len(score))
            for k, (_, scores) in enumerate(measured)
            for name, score in scores.items()
        }
        return over_ranks(totals, self.measures, self._shard.reduce)

    def _weighted(self, query: Examples, iteration: int) -> Examples | WeightedExamples:
        """The query of an iteration, with the weights of the losses after the inner steps where these are given."""
        if self._step_weights is None:
            return query
        weights = torch.tensor(self._step_weights(iteration), dtype=query.inputs.dtype, device=self.device)
        return WeightedExamples(*query, weights.expand(len(query.inputs), -1))

    def refresh(self, theta: Params, objective: MetaObjective) -> Params:
        """Theta as it is: gradients move all of it."""
        return theta

    def evaluate(
        self,
        theta: Params,
        rule: InnerRule,
        steps: int,
        tasks: NDArray[np.float64],
        seed: int,
        *,
        purpose: Purpose = Purpose.EVALUATION_TASKS,
    ) -> Evaluation:
        """Score theta after 0 .. `steps` gradient steps on each of the given tasks [N, k], on fresh query examples.

        The score `diverged` is 1 where the loss is not finite, or more than ten times the loss before adaptation.
        """
        rng = numpy_generator(seed, EXAMPLES[purpose])
        chunk = self.settings.tasks
        parts = [
            self._score_some(theta, rule, steps, tasks[first : first + chunk], rng)
            for first in range(0, len(tasks), chunk)  # some at a time, for memory
        ]
        scores = {name: np.concatenate([part[name] for part, _ in parts], axis=1) for name in parts[0][0]}
        loss = scores["loss"]
        scores["diverged"] = (~np.isfinite(loss) | (loss > 10 * loss[:1])).astype(np.float64)
        return Evaluation(scores, {"tasks": tasks, **parts[0][1]})

    def _score_some(
        self, theta: Params, rule: InnerRule, steps: int, tasks: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float32]]]:
        """Scores [K + 1, n] of n tasks, and the traces of the first ones, which figures draw."""
        support, query = self._examples(tasks, rng, self.settings.evaluation_queries, theta)
        learner = dataclasses.replace(self.learner, rule=rule)
        measured = self._after_each_step(theta, learner, steps, support, query, transductive=self.settings.transductive)
        scores = {
            name: torch.stack([after_step[name] for _, after_step in measured]).double().numpy(force=True)
            for name in self._kind.scores
        }
        drawn = {
            "support_inputs": support.inputs,
            "support_targets": support.targets,
            "query_inputs": query.inputs,
            "query_targets": query.targets,
        }
        count = self.settings.traced_tasks
        outputs = torch.stack([outputs for outputs, _ in measured])
        traces = {name: array[:count].numpy(force=True) for name, array in drawn.items()}
        return scores, traces | {"outputs": outputs[:, :count].numpy(force=True)}

    def pictures(
        self,
        theta: Params,
        rule: InnerRule,
        steps: int,
        tasks: NDArray[np.float64],
        index: int,
        seed: int,
        *,
        purpose: Purpose = Purpose.EVALUATION_TASKS,
    ) -> list[Film]:
        """Picture tasks[index] with examples of its own, before adaptation and after each of `steps` gradient steps."""
        # Imported here, because it loads Matplotlib, which may be missing.
        from metarl.supervised.pictures import picture

        rng = numpy_generator(seed, PICTURES_OF[purpose], index)
        scores, traces = self._score_some(theta, rule, steps, tasks[index : index + 1], rng)
        trace = {name: array[:, 0] if name == "outputs" else array[0] for name, array in traces.items()}
        shown = self._headline.score
        return [
            Film(
                self.distribution.describe(tasks[index]),
                picture(trace, step)[None],
                [f"{shown} {scores[shown][step, 0]:.3g}"],
            )
            for step in range(steps + 1)
        ]

    def score(self, metrics: Metrics) -> float | None:
        """The accuracy, or minus the loss, on the validation tasks after as many gradient steps as in training."""
        value = metrics.get(self._headline.at(self.inner_steps))
        return None if value is None else self._headline.as_score(value)

    def _after_each_step(
        self,
        theta: Params,
        learner: Learner,
        steps: int,
        support: Examples,
        query: Examples,
        *,
        transductive: bool = True,
    ) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Outputs [M, N, O] on the query and scores [M] by name, after 0 .. `steps` inner steps on the support."""
        predict = self.model.apply_stacked if transductive else functools.partial(self._one_by_one, support.inputs)
        fast = learner.start_each(theta, len(query.inputs))
        results = []
        for step in range(steps + 1):
            stacked = learner.merge_each(fast, theta)
            with torch.no_grad():
                outputs = predict(stacked, query.inputs)
                if step == 0 and self._kind_name == "classification":
                    require_labels(outputs.shape[-1], support, query)
                results.append(
                    (outputs, {name: vmap(score)(outputs, query) for name, score in self._kind.scores.items()})
                )
            if step < steps:
                fast = learner.step_each(fast, theta, support, step=step)
        return results

    def _one_by_one(self, support: Tensor, stacked: Params, queries: Tensor) -> Tensor:
        """Outputs [M, N, O] on queries [M, N, ...], each in one batch with its task's support and no other query."""
        outputs = [
            self.model.apply_stacked(stacked, torch.cat([support, query[:, None]], dim=1))[:, -1]
            for query in queries.unbind(1)
        ]
        return torch.stack(outputs, dim=1)

    def _training_examples(self, tasks: NDArray[np.float64], theta: Params, iteration: int) -> Both:
        """Support and query of an iteration's tasks, of all ranks."""
        rng = numpy_generator(self.seed, Purpose.TRAINING_EXAMPLES, iteration)
        return self._examples(tasks, rng, self.settings.queries, theta)

    def _examples(self, tasks: NDArray[np.float64], rng: np.random.Generator, queries: int, theta: Params) -> Both:
        """Support and query of tasks, in the dtype of the parameters."""
        like = next(iter(theta.values()))
        return draw_examples(self.distribution, tasks, rng, self.settings.shots, queries, self._kind_name, like)
