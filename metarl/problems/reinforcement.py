"""Reinforcement learning as a problem: tasks of an environment, episodes, a policy (Finn et al. 2017, algorithm 3)."""

import dataclasses
import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from metarl.metrics import Metric
from metarl.parts import HIDDEN, MAY_CHANGE, PROBABILITY, RECORDED, at_least
from metarl.problems import MOST_AT_A_TIME, PROBLEMS, WITHOUT_INNER_STEPS, ProblemOptions, Setting, require_buildable
from metarl.rl.baselines import BASELINES, Baseline
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.environments import ENVIRONMENTS, Environment
from metarl.rl.episode_metrics import RETURN, SCORES
from metarl.rl.inner_losses import INNER_LOSSES, InnerLoss
from metarl.rl.inner_losses.log_prob import LogProb
from metarl.rl.normalizers import NORMALIZATIONS, Normalization
from metarl.rl.normalizers.none import Unscaled
from metarl.rl.outer_losses import OUTER_LOSSES, OuterLoss
from metarl.rl.outer_losses.surrogate import Surrogate
from metarl.rl.policies import POLICIES
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.policies.policy import Policy, default_policy
from metarl.rl.problem import MetaRL
from metarl.rl.rollout_settings import MAX_BROKEN, RolloutSettings
from metarl.rl.spaces import Interface, observation_size, require_unchanged


@PROBLEMS.register("reinforcement")
@dataclass(frozen=True, kw_only=True)
class Reinforcement(ProblemOptions):
    """Reinforcement learning: episodes of an environment whose tasks differ."""

    environment: Annotated[Environment, ENVIRONMENTS]
    """A task-parameterised Gymnasium environment."""
    horizon: Annotated[int, at_least(1)] = 100
    """Timesteps per episode at most."""
    episodes: Annotated[int, at_least(1)] = 20
    """Episodes per task, before and after each inner step."""
    discount: Annotated[float, PROBABILITY] = 0.99
    """Discount of future rewards per timestep."""
    gae_lambda: Annotated[float, PROBABILITY] = 1.0
    """Lambda of generalised advantage estimation; 1 is the discounted return minus the baseline."""
    inner_discount: Annotated[float | None, PROBABILITY] = None
    """Discount in the data of the inner steps, where it is another: a smaller one makes an inner gradient with less
    noise, that sees less far ahead."""
    inner_gae_lambda: Annotated[float | None, PROBABILITY] = None
    """Lambda in the data of the inner steps, where it is another."""
    max_broken: Annotated[float, PROBABILITY, MAY_CHANGE] = MAX_BROKEN
    """Stop where the environment breaks more than this share of an iteration's episodes."""
    evaluation_episodes: Annotated[int, at_least(1), MAY_CHANGE] = 20
    """Episodes per task and gradient step at evaluation."""
    evaluation_counting: Annotated[Literal["episodes", "timesteps"], MAY_CHANGE] = "episodes"
    """episodes: complete episodes, every one counts. timesteps: as the authors' release counts, episodes x horizon
    timesteps with immediate restarts, which over-represents episodes that end early."""
    published_tasks: Annotated[bool, MAY_CHANGE] = False
    """Evaluate on the 40 test tasks of the published curves instead of tasks keyed by the seed."""

    policy: Annotated[Policy, POLICIES] = GaussianMLP()
    """What acts."""
    normalization: Annotated[Normalization, NORMALIZATIONS] = Unscaled()
    """How observations are scaled on their way into the policy."""
    inner_loss: Annotated[InnerLoss, INNER_LOSSES] = LogProb()
    """What the inner gradient steps minimise."""
    outer_loss: Annotated[OuterLoss, OUTER_LOSSES] = Surrogate()
    """What the outer step minimises."""
    baseline: Annotated[Baseline, BASELINES] = LinearFeatures()
    """The expected returns that advantages are measured from."""

    observations_in_training: Annotated[str | None, HIDDEN, RECORDED] = None
    """The space of the observations that the policy was trained with, in words."""
    actions_in_training: Annotated[str | None, HIDDEN, RECORDED] = None
    """The space of the actions that the policy was trained with, in words."""

    @property
    def score(self) -> str:
        """The average return."""
        return SCORES["rollout/return"]

    @property
    def drawn_curve(self) -> tuple[Metric, str]:
        """The average return over the meta-batch."""
        return RETURN, "meta-training"

    @property
    def achieved_name(self) -> str:
        """What `achieved` measures in this environment, with its unit."""
        return self.environment.achieved_name

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the numbers of this environment's tasks, with their units."""
        return self.environment.tasks.names

    @cached_property
    def _remarks(self) -> list[str]:
        """What the check of the environment says. Raises ValueError if it cannot be meta-trained in."""
        return self.environment.remarks(self.horizon)

    @property
    def before_training(self) -> str:
        """What the check of the environment says, a line each."""
        return "\n".join(f"note: {remark}" for remark in self._remarks)

    def commanded(self, tasks: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """What the environment's tasks [N, k] ask for, [N]."""
        return self.environment.commanded(tasks)

    @property
    def protocol(self) -> dict[str, Any]:
        """Episodes per task, how they are counted, and whose tasks they are of."""
        return {
            "episodes": self.evaluation_episodes,
            "counting": self.evaluation_counting,
            "published_tasks": self.published_tasks,
        }

    def require_sensible(self, setting: Setting) -> None:
        """Raise ValueError for more timesteps at a time than any machine has room for."""
        sizes = (
            ("tasks", setting.tasks, "episodes", self.episodes),
            ("evaluation_tasks", setting.evaluation_tasks, "evaluation_episodes", self.evaluation_episodes),
            ("validation_tasks", setting.validation_tasks, "evaluation_episodes", self.evaluation_episodes),
        )
        for tasks_name, tasks, episodes_name, episodes in sizes:
            timesteps = tasks * episodes * self.horizon
            if timesteps > MOST_AT_A_TIME:
                raise ValueError(
                    f"{tasks_name} x {episodes_name} x horizon must be at most {MOST_AT_A_TIME:,}; got {timesteps}"
                )

    def fitting(self) -> "Reinforcement":
        """The same options, with the default policy for the environment's actions where theirs does not fit."""
        _, actions = self.environment.spaces()
        if self.policy.fits(actions):
            return self
        return dataclasses.replace(self, policy=POLICIES.find(default_policy(actions))())

    def recorded(self) -> "Reinforcement":
        """The same with the spaces of the environment's observations and actions."""
        if self.observations_in_training is not None:
            return self
        found = Interface.of(*self.environment.own_spaces)
        return dataclasses.replace(self, observations_in_training=found.observations, actions_in_training=found.actions)

    def _require_unchanged(self) -> None:
        """Raise ValueError if the environment's spaces are others than those in training, where these are known."""
        if self.observations_in_training is not None and self.actions_in_training is not None:
            trained = Interface(self.observations_in_training, self.actions_in_training)
            require_unchanged(trained, Interface.of(*self.environment.own_spaces), "the environment of this run")

    def _environments(
        self, count: int, *, device: str, task_in_observation: bool = False, render_mode: str | None = None
    ) -> VectorEnv:
        """Make environments, after they have been checked once. Raises ValueError if they cannot be meta-trained in.

        Those that draw themselves stay on the host.
        """
        _ = self._remarks
        environment = self.environment.on(device) if render_mode is None else self.environment
        return environment.build(
            count, horizon=self.horizon, render_mode=render_mode, task_in_observation=task_in_observation
        )

    def build(self, setting: Setting) -> MetaRL:
        """Make the problem of MAML-RL. Raises ValueError for options that parts refuse, or a changed environment."""
        require_buildable(setting)
        if self.outer_loss.needs_inner_steps and not setting.inner_steps:
            name = OUTER_LOSSES.name_of(self.outer_loss)
            raise ValueError(f"outer_loss {name} needs at least 1 inner step in training; got 0: choose surrogate")
        self._require_unchanged()
        # On the run's device, so that what is missing there is said before anything is written.
        environment = self.environment.on(setting.device)
        observations, actions = environment.spaces(task_in_observation=setting.knows_the_task)
        normalizer = self.normalization.build()
        policy = self.policy.build(observations, actions)
        return MetaRL(
            functools.partial(self._environments, device=setting.device, task_in_observation=setting.knows_the_task),
            normalizer.wrap(policy, observation_size(observations)),
            setting.rule,
            inner_steps=setting.inner_steps,
            inner_loss=self.inner_loss.build(),
            baseline=self.baseline.build(),
            normalizer=normalizer,
            settings=RolloutSettings(
                tasks=setting.tasks,
                episodes=self.episodes,
                horizon=self.horizon,
                discount=self.discount,
                gae_lambda=self.gae_lambda,
                evaluation_episodes=self.evaluation_episodes,
                evaluation_counting=self.evaluation_counting,
                traced_episodes=self.environment.traced_episodes,
                inner_discount=self.inner_discount,
                inner_gae_lambda=self.inner_gae_lambda,
                max_broken=self.max_broken,
            ),
            seed=setting.seed,
            task_per_episode=setting.method in WITHOUT_INNER_STEPS,
            device=setting.device,
            commanded=self.environment.commanded,
            shard=setting.shard,
            outer_loss=self.outer_loss.build(),
        )
