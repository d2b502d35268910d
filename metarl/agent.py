"""A trained policy for your own program: load a run, adapt to a task, act.

This file and metarl/__init__.py are the only ones that know both reinforcement learning and runs.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch._dynamo  # a gradient needs it, and it must be loaded before somebody's OpenGL: see envs/opengl.py
from gymnasium import Space
from gymnasium.vector import VectorEnv
from numpy.typing import ArrayLike, NDArray

from metarl.arguments import path_of, require_integers
from metarl.engine.params import Params
from metarl.kinds import is_whole
from metarl.numeric import numeric
from metarl.rl.contract import played_alone, require_task_taken, require_vector
from metarl.rl.environments import Environment
from metarl.rl.problem import MetaRL
from metarl.rl.spaces import NOT_OF_THE_SPACE, Interface, in_words, observation_size, require_unchanged
from metarl.surroundings import usual_torch
from metarl.training.checkpoint import load, save
from metarl.training.config import Config
from metarl.training.run_directory import read_config, read_parameters, understood
from metarl.training.state import TrainState, fitted
from metarl.training.tree import registries, with_options


# Compared by identity, because tensors have no single truth value that says whether they are equal.
@dataclass(frozen=True, eq=False)
class Agent:
    """A policy's parameters and the configuration of its run, which says how to adapt it. Agents can be pickled."""

    config: Config
    theta: Params
    returns: tuple[float, ...] = ()  # of an adapted agent: average return after 0, 1 .. gradient steps

    @cached_property
    def problem(self) -> MetaRL:
        """The policy, its inner loss and its rollouts, as the configuration says; made at the first use."""
        return cast(MetaRL, self.config.problem.build(self.config.setting()))

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: the functions in `problem` cannot be pickled, and are made again after unpickling."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def save(self, path: str | Path) -> None:
        """Write parameters and configuration to a file for `load_agent`; `returns` is not written.

        Raises:
            ValueError: `path` is none.
            OSError: the file cannot be written.
        """
        save(path_of("path", path), TrainState(0, self.theta, {}, -math.inf, config=self.config.to_dict()))

    def make_vec(self, num_envs: int, *, render_mode: str | None = None) -> VectorEnv:
        """Make environments like those of the run, with its options and horizon, as `adapt` wants them.

        Raises:
            ValueError: the environment cannot be made, or draws nothing although a `render_mode` is given.
        """
        require_integers(1, num_envs=num_envs)
        horizon = cast(Any, self.config.problem).horizon
        return self._environment.build(
            num_envs, horizon=horizon, render_mode=render_mode, task_in_observation=self.config.knows_the_task
        )

    @usual_torch()
    def adapt(self, env: VectorEnv, task: ArrayLike, *, gradient_steps: int = 1, seed: int = 0) -> "Agent":
        """Make an agent that is adapted to a task, by gradient steps on a fresh episode of every environment each.

        Adapting an adapted agent starts again with the first step size.

        Args:
            env: E environments without auto-reset that take the task at `reset(options={"tasks": rows})`.
            task: [k], or a number where k is 1; any task that the environments take, not only one of training.
            gradient_steps: K; their step sizes are those of the run's evaluation.
            seed: key of the rollouts.

        Raises:
            ValueError: the agent is an oracle, `gradient_steps` is negative, the environments have other observations
                or actions than those of training, drop tasks or do not take this one, are played by another thread at
                the same time, or the parameters diverge.
        """
        require_integers(0, gradient_steps=gradient_steps, seed=seed)
        if gradient_steps and self.config.knows_the_task:
            raise ValueError(f"an oracle knows the task and takes no gradient steps; got {gradient_steps}")
        rule = self.config.test_rule
        numbers = numeric(task)
        if numbers is None or not numbers.size or numbers.ndim > 1:
            shape = f" of the shape {list(numbers.shape)}" if numbers is not None and numbers.ndim > 1 else ""
            raise ValueError(f"a task must be numbers [k]; got {task!r}{shape}")
        tasks = np.atleast_1d(numbers.astype(np.float64))[None]
        require_vector(env)
        with played_alone(env):
            require_task_taken(env, tasks[0])
            present = Interface.of(env.single_observation_space, env.single_action_space)
            require_unchanged(Interface.of(*self._spaces), present, str(env))
            steps = list(islice(self.problem.adaptation(env, self._theta, rule, tasks, seed), gradient_steps + 1))
        returns = tuple(episodes.average(episodes.returns).item() for _, episodes in steps)
        if not np.isfinite(returns).all():
            raise ValueError(f"the policy diverged, or every episode broke down at once: returns are {returns}")
        theta = {name: leaf[0] for name, leaf in steps[-1][0].items()}
        return dataclasses.replace(self, theta=theta, returns=returns)

    @cached_property
    def _theta(self) -> Params:
        return fitted(self.theta, self.problem, "this agent")

    @cached_property
    def _environment(self) -> Environment:
        return cast(Any, self.config.problem).environment

    @cached_property
    def _spaces(self) -> tuple[Space, Space]:
        """The spaces of the run's environment, as the policy sees them."""
        return self._environment.spaces(task_in_observation=self.config.knows_the_task)

    @usual_torch()
    def act(self, observation: Any, rng: np.random.Generator | None = None) -> NDArray[Any]:
        """Choose an action for an observation: the policy's mode (a Gaussian's mean), or with `rng` a sample.

        Args:
            observation: an observation as one environment of the run gives it, or many as an array [..., O]. An oracle
                expects the numbers of the task behind it.
            rng: draws the sample.

        Returns:
            The action as one environment of the run takes it, in the environment's units and bounds; a whole number
            where actions are discrete.

        Raises:
            ValueError: the observation is of another size or kind than those of training, or not finite in the dtype of
                the parameters; `rng` is no generator of NumPy; the environment has changed since.
        """
        can_draw = rng is None or hasattr(rng, "standard_normal")
        if not can_draw:
            raise ValueError(f"rng must be a NumPy generator, such as numpy.random.default_rng(1); got {rng!r}")
        like = next(iter(self._theta.values()))
        # A copy, because torch takes no array with negative strides, and warns of one that may not be written.
        seen = torch.from_numpy(np.array(self._flat(observation))).to(like)
        if not seen.isfinite().all():
            raise ValueError(f"observations must be finite numbers, also as {like.dtype}; got {observation}")
        with torch.no_grad():
            actions = self.problem.policy.apply(self._theta, seen)
        chosen = actions.mode
        if rng is not None:
            chosen = actions.sample(torch.as_tensor(rng.standard_normal(chosen.shape)).to(chosen))
        return self._environment.own_actions(chosen.numpy(force=True))

    def _flat(self, observation: Any) -> NDArray[Any]:
        """The vector [..., O] that the policy sees. Raises ValueError that names both for one of another size."""
        try:
            own = np.asarray(observation) if self.config.knows_the_task else self._environment.flat(observation)
            flat = numeric(own)
            if flat is None:
                raise TypeError("it is no array of real numbers")
        except NOT_OF_THE_SPACE as error:
            raise ValueError(f"observations must be of {in_words(self._environment.own_spaces[0])}: {error}") from error
        size = observation_size(self._spaces[0])
        if flat.shape[-1:] != (size,):
            raise ValueError(
                f"observations must have {size} numbers, as in training ({in_words(self._spaces[0])}); got an array of "
                f"shape {np.shape(observation)}"
            )
        return flat


@usual_torch()
def load_agent(place: str | Path, checkpoint: str | int | None = None) -> Agent:
    """Load the policy of a run, or one that `Agent.save` wrote.

    `Agent.adapt` plays complete episodes, even if the run's evaluation counts timesteps as the authors did.

    Args:
        place: the run's directory, or the file.
        checkpoint: which parameters of a run: `best`, `last`, or those that were kept after this number of outer steps;
            None: those that the run's evaluation uses.

    Raises:
        ValueError: there is no run, the run is supervised, the checkpoint is damaged, or one is chosen of a file.
    """
    is_known = checkpoint in (None, "best", "last") or (is_whole(checkpoint) and int(checkpoint) >= 0)
    if not is_known:
        raise ValueError(f"checkpoint must be 'best', 'last' or a number of outer steps; got {checkpoint!r}")
    path = path_of("place", place)
    whole = path.absolute()  # a module of the user's may move the process to another folder
    if path.is_file():
        if checkpoint is not None:
            raise ValueError(f"checkpoint chooses among those of a run directory; {path} is a file; got {checkpoint!r}")
        state = load(path)
        config = understood(state.config, path)
    else:
        config = read_config(path)
        state = read_parameters(whole, config.evaluation_checkpoint if checkpoint is None else checkpoint)
    if "policy" not in registries(config):
        raise ValueError(f"{path} is a run of {config.preset}, which has no policy")
    return Agent(with_options(config, {"evaluation_counting": "episodes"}), state.theta)
