"""Algorithm 3 of Finn et al. 2017 as a Problem: one meta-iteration of MAML-RL, and its evaluation on given tasks."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from metarl.arguments import require_built, require_integers, require_truths
from metarl.engine.maml import Learner
from metarl.engine.model import Model
from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params
from metarl.engine.rules import InnerRule
from metarl.engine.soundness import require_sound_outer_loss, require_sound_steps, sound_parameters
from metarl.metrics import over_ranks
from metarl.problem import Evaluation, Film, Metrics
from metarl.randomness import PICTURES_OF, SPLIT_OF, Purpose, numpy_generator, torch_generator
from metarl.rl.advantages import policy_batch
from metarl.rl.baselines import Values
from metarl.rl.contract import of_wrapped
from metarl.rl.drawing_tasks import draw_tasks
from metarl.rl.episode_metrics import (
    BROKEN,
    MEASURES,
    RETURN,
    Clock,
    distances,
    require_whole,
    scores_of,
    totals_of_episodes,
    traces_of,
    warn_of_equal_rewards,
)
from metarl.rl.episodes import Episodes, PolicyBatch
from metarl.rl.films import film
from metarl.rl.inner_losses import PolicyLoss
from metarl.rl.normalizers import Normalizer
from metarl.rl.normalizers.none import Unscaled
from metarl.rl.outer_losses import OuterPolicyLoss, functions_of
from metarl.rl.outer_losses.surrogate import Surrogate
from metarl.rl.rollout_settings import RolloutSettings
from metarl.rl.sampler import ROLLOUTS, rollout
from metarl.shard import ALONE, Shard
from metarl.surroundings import gradients_kept

ROLLOUTS_FOR = {  # what tasks are for -> what their rollouts are keyed by
    Purpose.VALIDATION_TASKS: Purpose.VALIDATION_ROLLOUTS,
    Purpose.EVALUATION_TASKS: Purpose.EVALUATION_ROLLOUTS,
}
UNSCALED = Unscaled().build()
SURROGATE = Surrogate().build()


class MetaRL:
    """MAML-RL: K times (roll out, adapt), then roll out the adapted policies; TRPO's objective is made of these.

    Args:
        make_env: makes a vector environment with `sample_tasks`, without auto-reset, of a number of environments; for
            pictures it is also called with render_mode="rgb_array".
        policy: flattened observations -> a distribution over actions; already wrapped by `normalizer`.
        rule: the inner rule.
        inner_steps: K; 0 trains without adaptation.
        inner_loss: the loss of the inner steps.
        baseline: the expected returns that advantages are measured from.
        settings: sizes of the rollouts.
        seed: key of everything random.
        task_per_episode: draw a fresh task for each of the M * E episodes of a meta-batch, instead of E episodes of
            each of M tasks, as the paper does for its pretrained and oracle policies; `inner_steps` must be 0.
        device: where parameters and batches live; `make_env` says where environments do.
        commanded: tasks [N, k] -> the value of `achieved` that each task asks for, [N]; None if they ask for none.
        normalizer: updates the statistics that scale the policy's observations.
        shard: which tasks of a meta-batch this process rolls out.
        outer_loss: the loss of the outer step.

    Raises:
        ValueError: a part that is not built, numbers out of their bounds, more ranks than tasks; (by the first
            `collect`) a rule or a loss that does not do what it must: see `soundness`.
    """

    measures = MEASURES

    def __init__(
        self,
        make_env: Callable[..., VectorEnv],
        policy: Model,
        rule: InnerRule,
        *,
        inner_steps: int,
        inner_loss: PolicyLoss,
        baseline: Values,
        settings: RolloutSettings,
        seed: int,
        task_per_episode: bool = False,
        device: str = "cpu",
        commanded: Callable[[NDArray[np.float64]], NDArray[np.float64] | None] = lambda tasks: None,
        normalizer: Normalizer = UNSCALED,
        shard: Shard = ALONE,
        outer_loss: OuterPolicyLoss = SURROGATE,
    ) -> None:
        require_built(policy=(policy, Model), rule=(rule, InnerRule), normalizer=(normalizer, Normalizer))
        require_built(
            inner_loss=(inner_loss, Callable), baseline=(baseline, Callable), outer_loss=(outer_loss, Callable)
        )
        require_integers(0, inner_steps=inner_steps, seed=seed)
        require_truths(task_per_episode=task_per_episode)
        settings.require_sensible()
        if task_per_episode and inner_steps:
            raise ValueError(
                f"a task that lasts one episode cannot be adapted to: inner_steps must be 0; got {inner_steps}"
            )
        self.policy = policy
        self.inner_steps = inner_steps
        self.settings = settings
        self.seed = seed
        self.device = torch.device(device)
        self._tasks_per_group = settings.episodes if task_per_episode else 1
        self._shard = shard
        self._local = shard.tasks(settings.tasks)
        self._make_env = make_env
        self._commanded = commanded
        self._baseline = baseline
        self._normalizer = normalizer
        self.learner = Learner(
            rule,
            inner_loss=lambda params, batch: inner_loss(policy.apply(params, batch.observations), batch),
            predict=lambda params, batch: policy.apply(params, batch.observations),
        )
        self.functions = functions_of(outer_loss, self.learner)
        self._is_sound = False  # whether rule and losses were checked

    @cached_property
    def _env(self) -> VectorEnv:
        return self._made(len(self._local) * self.settings.episodes)

    def prepare(self) -> None:
        """Make the environments of a training. Raises ValueError where `make_env` cannot make so many."""
        _ = self._env

    def _made(self, count: int, **options: str) -> VectorEnv:
        """Make so many environments. Raises ValueError where `make_env` makes another number of them."""
        with gradients_kept():
            env = self._make_env(count, **options)
        if env.num_envs != count:
            raise ValueError(f"make_env({count}) must make as many environments as it is asked for; got {env.num_envs}")
        return env

    def initial_parameters(self, seed: int) -> Params:
        """Fresh policy parameters, with what the inner rule meta-learns."""
        generator = torch_generator(seed, Purpose.PARAMETERS)
        theta = sound_parameters(self.learner.rule, self.policy.init(generator), generator)
        return {name: leaf.to(self.device) for name, leaf in theta.items()}

    def sample_tasks(self, seed: int, purpose: Purpose, *key: int, count: int) -> NDArray[np.float64]:
        """`count` tasks [count, k], a function of the arguments; of the purpose's split, where there are splits."""
        # All tasks are drawn in one call, so that a sampler may stratify or balance them.
        sample = of_wrapped(self._env, "sample_tasks")
        with gradients_kept():
            return draw_tasks(sample, numpy_generator(seed, purpose, *key), count, SPLIT_OF[purpose])

    def collect(self, theta: Params, iteration: int) -> tuple[MetaObjective, Metrics]:
        """Sample tasks and rollouts, adapt, sample again with the adapted policies; build the outer objective.

        Raises:
            ValueError: the environment broke more than `max_broken` of the episodes.
        """
        settings = self.settings
        clock = Clock(self.device)
        first = self._local.start
        rows = slice(first * self._tasks_per_group, self._local.stop * self._tasks_per_group)
        count = settings.tasks * self._tasks_per_group
        # Every rank draws the tasks of all ranks, and keeps its own.
        tasks = self.sample_tasks(self.seed, Purpose.TRAINING_TASKS, iteration, count=count)[rows]
        adapted, rollouts, batches = self._adapt(theta, tasks, iteration, clock)
        if not self._is_sound:
            require_sound_outer_loss(self.learner, self.functions.outer_loss, theta, batches[:-1], batches[-1])
            warn_of_equal_rewards(rollouts[0])
            self._is_sound = True
        objective = MetaObjective(
            theta,
            self.learner,
            self.functions,
            batches[:-1],
            batches[-1],
            num_tasks=settings.tasks,
            first_task=first,
            reduce=self._shard.reduce,
        )
        metrics = self._metrics(rollouts, adapted)
        spread = self.policy.apply(theta, batches[-1].observations[0, 0]).spread()
        metrics |= {f"policy/{name}": values.mean().item() for name, values in spread.items()}
        require_whole(metrics, iteration, max_broken=settings.max_broken)
        return objective, metrics | clock.metrics(metrics["env_steps"])

    def _adapt(
        self, theta: Params, tasks: NDArray[np.float64], iteration: int, clock: Clock
    ) -> tuple[list[Params], list[Episodes], list[PolicyBatch]]:
        """The policies after 0 .. `inner_steps` gradient steps of training, their episodes, and these as batches."""
        horizon = self.settings.horizon
        first = self._local.start
        fast = self.learner.start_each(theta, len(self._local))
        adapted: list[Params] = []
        rollouts: list[Episodes] = []
        batches: list[PolicyBatch] = []
        for step in range(self.inner_steps + 1):
            adapted.append(self.learner.merge_each(fast, theta))
            key = (self.seed, Purpose.TRAINING_ROLLOUTS, iteration, step)
            played = rollout(self._env, self.policy, adapted[-1], tasks, horizon=horizon, key=key, first_task=first)
            rollouts.append(played)
            clock.lap("sample")
            batches.append(self._process(rollouts[-1], inner=step < self.inner_steps))
            if step == 0 < self.inner_steps and not self._is_sound:
                require_sound_steps(self.learner, theta, batches[0])
            if step < self.inner_steps:
                fast = self.learner.step_each(fast, theta, batches[-1], step=step)
            clock.lap("adapt")
        return adapted, rollouts, batches

    def refresh(self, theta: Params, objective: MetaObjective) -> Params:
        """Update the statistics of the observations in theta, from the data of the objective."""
        return self._normalizer.refresh(theta, [*objective.support, objective.query], self._shard.reduce)

    def _metrics(self, rollouts: list[Episodes], adapted: list[Params]) -> Metrics:
        """The metrics of the whole meta-batch, from sums over the local tasks."""
        moved = distances(adapted[0], adapted[-1]).double()
        totals = totals_of_episodes(rollouts)
        totals["inner/update_norm"] = moved.sum(), torch.tensor(len(moved))
        env_steps = torch.stack([episodes.num_steps.double().sum() for episodes in rollouts]).sum()
        totals["env_steps"] = env_steps, torch.tensor(1)
        return over_ranks(totals, MEASURES, self._shard.reduce)

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
        """Score theta after 0 .. `steps` gradient steps on each of the given tasks [N, k].

        The policy of step k is scored on fresh rollouts, which are also the data of gradient step k + 1. The scores are
        those of `scores_of`, and `adaptation_env_steps`, the timesteps that adaptation has taken so far.
        """
        settings = self.settings
        per_step = []
        traces = []
        spent = np.zeros(len(tasks))
        wanted = self._commanded(tasks)
        env = self._made(len(tasks) * self.settings.evaluation_episodes)
        for _, episodes in itertools.islice(self.adaptation(env, theta, rule, tasks, seed, purpose=purpose), steps + 1):
            per_step.append(scores_of(episodes, wanted) | {"adaptation_env_steps": spent.copy()})
            spent += episodes.num_steps.sum(1).numpy(force=True)
            traces.append(traces_of(episodes, min(settings.traced_episodes, settings.evaluation_episodes)))
        env.close()
        scores = {name: np.stack([scores[name] for scores in per_step]) for name in per_step[0]}
        # The environment may report neither.
        for name in ("achieved", "success"):
            if np.isnan(scores[name]).all():
                del scores[name]
        return Evaluation(
            scores=scores,
            traces={"tasks": tasks, **{name: np.stack([trace[name] for trace in traces]) for name in traces[0]}},
        )

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
        mean_action: bool = False,
    ) -> list[Film]:
        """Film one episode of tasks[index] before adaptation and after each of `steps` gradient steps of `evaluate`.

        `purpose` is the one given to `evaluate`. In a film the policy acts by samples, or with `mean_action` by its
        mean.

        Raises:
            ValueError: the environment does not draw itself, or cannot on this machine.
        """
        camera = self._made(1, render_mode="rgb_array")
        env = self._made(self.settings.evaluation_episodes)
        task = tasks[index]
        films = []
        adaptation = self.adaptation(env, theta, rule, task[None], seed, first_task=index, purpose=purpose)
        for step, (stacked, _) in enumerate(itertools.islice(adaptation, steps + 1)):
            key = (seed, PICTURES_OF[purpose], step)
            horizon = self.settings.horizon
            films.append(film(camera, self.policy, stacked, task, horizon=horizon, key=key, mean_action=mean_action))
        camera.close()
        env.close()
        return films

    def score(self, metrics: Metrics) -> float | None:
        """The training return after adaptation, as in the paper; None if a policy diverged."""
        # The episodes of a diverged policy are cut short, so that their return means nothing.
        if f"{BROKEN}_action" in metrics:
            return None
        value = metrics.get(RETURN.at(self.inner_steps))
        return None if value is None else RETURN.as_score(value)

    def adaptation(
        self,
        env: VectorEnv,
        theta: Params,
        rule: InnerRule,
        tasks: NDArray[np.float64],
        seed: int,
        first_task: int = 0,
        *,
        purpose: Purpose = Purpose.EVALUATION_TASKS,
    ) -> Iterator[tuple[Params, Episodes]]:
        """Yield every task's parameters [N, ...] after 0, 1, 2 .. gradient steps, and fresh rollouts of them; no end.

        Args:
            env: N * E environments.
            theta: the meta-parameters from which every task starts.
            rule: the inner rule, with the step sizes of the evaluation.
            tasks: [N, k].
            seed: key of the rollouts, together with the index of the task.
            first_task: index of the first of these tasks.
            purpose: what the tasks were drawn for: validation and test rollouts use different generators.
        """
        gather = ROLLOUTS[self.settings.evaluation_counting]
        learner = dataclasses.replace(self.learner, rule=rule)
        fast = learner.start_each(theta, len(tasks))
        for step in itertools.count():
            key = (seed, ROLLOUTS_FOR[purpose], step)
            horizon = self.settings.horizon
            stacked = learner.merge_each(fast, theta)
            episodes = gather(env, self.policy, stacked, tasks, horizon=horizon, key=key, first_task=first_task)
            yield stacked, episodes
            fast = learner.step_each(fast, theta, self._process(episodes, inner=True), step=step)

    def _process(self, episodes: Episodes, *, inner: bool) -> PolicyBatch:
        """Episodes with their advantages, as the losses of the inner steps or of the outer step take them."""
        return policy_batch(episodes, self._baseline, **self.settings.credit(inner=inner)._asdict())
