"""A trained policy in one's own program: load a run, adapt to a task of one's own, act.

With metarl/__init__.py the one place that knows both reinforcement learning and runs.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import VectorEnv
from numpy.typing import ArrayLike, NDArray

from metarl.engine.params import Params
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.inner_losses import INNER_LOSSES
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.problem import MetaRL, RolloutSettings
from metarl.shard import ALONE, Shard
from metarl.training.checkpoint import load, save
from metarl.training.config import RLConfig
from metarl.training.rules import evaluation_rule, training_rule
from metarl.training.run_directory import read_config, read_parameters, understood
from metarl.training.state import TrainState


@dataclass(frozen=True)
class Agent:
    """A policy with its parameters, and what it takes to adapt it as its run's evaluation would; it can be pickled."""

    config: RLConfig
    theta: Params
    returns: tuple[float, ...] = ()  # of an adapted agent: average return after 0, 1 .. gradient steps

    @cached_property
    def problem(self) -> MetaRL:
        """The policy, its inner loss and rollouts, as configured: made when it is first asked for."""
        observation_size, action_size = next(iter(self.theta.values())).shape[1], self.theta["log_std"].shape[0]
        return meta_rl(self.config, _no_env, observation_size, action_size)

    def __getstate__(self) -> dict[str, Any]:
        """The fields: `problem` is made of functions that cannot be pickled, and is made anew."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def save(self, path: str | Path) -> None:
        """Write the parameters and the configuration to a file, for `load_agent`; `returns` is not kept.

        Raises:
            OSError: the file cannot be written.
        """
        save(Path(path).expanduser(), TrainState(0, self.theta, {}, -math.inf, config=self.config.to_dict()))

    def adapt(self, env: VectorEnv, task: ArrayLike, *, gradient_steps: int = 1, seed: int = 0) -> "Agent":
        """The agent after some gradient steps on a task, each on one fresh episode of every environment.

        An agent that was adapted before starts again with the first step size.

        Args:
            env: E environments without auto-reset that take the task at `reset(options={"tasks": rows})`.
            task: [k], not necessarily one of the training distribution.
            gradient_steps: K, with the step sizes of the run's evaluation.
            seed: key of the rollouts.

        Raises:
            ValueError: an oracle, a negative number of steps, whatever the environments refuse, parameters that
                diverge.
        """
        if gradient_steps < 0:
            raise ValueError(f"gradient_steps must not be negative; got {gradient_steps}")
        if gradient_steps and self.config.method == "oracle":
            raise ValueError(f"an oracle knows the task and takes no gradient steps; got {gradient_steps}")
        rule, tasks = evaluation_rule(self.config), np.asarray(task, np.float64)[None]
        steps = list(islice(self.problem.adaptation(env, self.theta, rule, tasks, seed), gradient_steps + 1))
        returns = tuple(episodes.average(episodes.returns).item() for _, episodes in steps)
        if not np.isfinite(returns).all():
            raise ValueError(f"the policy diverged, or every episode broke down at once: returns are {returns}")
        theta = {name: leaf[0] for name, leaf in steps[-1][0].items()}
        return dataclasses.replace(self, theta=theta, returns=returns)

    def act(self, observation: ArrayLike, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
        """The action [..., A], in [-1, 1], for observations [..., O]: the policy's mean, or with `rng` a sample."""
        like = next(iter(self.theta.values()))
        seen = torch.as_tensor(np.asarray(observation), dtype=like.dtype, device=like.device)
        with torch.no_grad():
            actions = self.problem.policy.apply(self.theta, seen)
        chosen = actions.mode
        if rng is not None:
            chosen = actions.sample(torch.as_tensor(rng.standard_normal(chosen.shape)).to(chosen))
        return chosen.numpy(force=True).astype(np.float64).clip(-1, 1)


def load_agent(place: str | Path, checkpoint: str | int | None = None) -> Agent:
    """The policy that a run's training left, or that `Agent.save` wrote.

    Args:
        place: the run's directory, or the file.
        checkpoint: of a run, `best`, `last`, or after how many outer steps one was kept; None: what the run's
            evaluation takes.

    Raises:
        ValueError: no run, a supervised one, or a damaged checkpoint.
    """
    if checkpoint not in (None, "best", "last") and not isinstance(checkpoint, int):
        raise ValueError(f"checkpoint must be 'best', 'last' or a number of outer steps; got {checkpoint!r}")
    path = Path(place).expanduser()
    if path.is_file():
        state = load(path)
        config = understood(state.config, path)
    else:
        config = read_config(path)
        state = read_parameters(path, config.evaluation_checkpoint if checkpoint is None else checkpoint)
    if isinstance(config, RLConfig):
        return Agent(dataclasses.replace(config, evaluation_counting="episodes"), state.theta)
    raise ValueError(f"{path} is a run of {config.preset}, which has no policy")


def meta_rl(
    config: RLConfig,
    make_env: Callable[..., VectorEnv],
    observation_size: int,
    action_size: int,
    *,
    traced_episodes: int = 0,
    commanded: Callable[[NDArray[np.float64]], NDArray[np.float64] | None] = lambda tasks: None,
    shard: Shard = ALONE,
) -> MetaRL:
    """One meta-iteration of MAML-RL as configured.

    Raises:
        ValueError: whatever of the configuration its parts refuse.
    """
    policy = GaussianMLP(
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        initial_std=config.initial_std,
        min_std=config.min_std,
    )
    return MetaRL(
        make_env,
        policy.build(Box(-np.inf, np.inf, (observation_size,)), Box(-1.0, 1.0, (action_size,))),
        training_rule(config),
        inner_steps=config.adaptation_steps,
        inner_loss=INNER_LOSSES.find(config.inner_loss)().build(),
        baseline=LinearFeatures().build(),
        settings=RolloutSettings(
            tasks=config.tasks,
            episodes=config.episodes,
            horizon=config.horizon,
            discount=config.discount,
            gae_lambda=config.gae_lambda,
            evaluation_episodes=config.evaluation_episodes,
            evaluation_counting=config.evaluation_counting,
            traced_episodes=traced_episodes,
        ),
        seed=config.seed,
        task_per_episode=config.method in ("pretrained", "oracle"),
        device=config.device,
        commanded=commanded,
        shard=shard,
    )


def _no_env(count: int, **_: object) -> VectorEnv:
    raise ValueError(f"an agent makes no environments ({count} wanted): give `adapt` yours")
