"""Rollouts: a vector environment x the stacked parameters of M tasks -> Episodes, one policy call per timestep."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._pytree import tree_map

from metarl.arrays import Array, Mask, is_tensor, known_all, namespace, perhaps_any
from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.randomness import Purpose, seed_sequence
from metarl.rl.contract import require_vector
from metarl.rl.episode_progress import Progress
from metarl.rl.episodes import Episodes
from metarl.rl.spaces import action_size, environment_actions, observation_size
from metarl.rl.vector_results import Step, VectorResults
from metarl.threads import torch_threads

Key = tuple[int, Purpose, *tuple[int, ...]]  # (seed, purpose, iteration, inner step): see randomness.py


# One thread of torch, because a timestep's batches are small and the environments have threads of their own.
@torch.no_grad()
@torch_threads(1)
def rollout(
    env: VectorEnv,
    policy: Model,
    params: Params,
    tasks: NDArray[np.float64],
    *,
    horizon: int,
    key: Key,
    first_task: int = 0,
) -> Episodes:
    """Play E complete episodes of each task, every task under its own parameters.

    An observation, reward or action that is not finite, or too large for the parameters' dtype, breaks its episode, and
    the timestep does not count. Actions that are not finite are stored as they are, so that the losses of their task
    are not finite either.

    Args:
        env: M * E environments without auto-reset; environment m * E + e runs episode e of task m. Its `info` may have
            `diverged` [n], whether a simulation has broken down, and what `Progress.record` reads.
        policy: flattened observations [..., O] -> a distribution over actions [..., A].
        params: stacked parameters, every leaf [M, ...].
        tasks: one row for each task [M, k], or one for each environment [M * E, k].
        horizon: timesteps T to record at most.
        key: what the generators are keyed by; the global index of the task is appended.
        first_task: global index of the first of these tasks.

    Returns:
        Episodes on the parameters' device, in their dtype.

    Raises:
        ValueError: a number of environments that is not a multiple of M, auto-reset, spaces of observations or actions
            that `spaces` cannot make vectors of, a policy whose actions have another size, environments that return
            anything but the results of `reset` and `step`.
    """
    like = next(iter(params.values()))
    num_tasks = len(like)
    num_envs = env.num_envs
    episodes = _episodes_per_task(env, len(like))
    rows = tasks if len(tasks) == num_envs else np.repeat(tasks, episodes, axis=0)
    results = VectorResults(env)
    for_environment = environment_actions(env.single_action_space)
    sizes = observation_size(env.single_observation_space), action_size(env.single_action_space)
    noise, seeds = _randomness(num_tasks, (horizon, episodes, sizes[1]), key, first_task, like)
    turns = _turns(env)
    device = results.device
    shape = num_tasks, horizon, episodes
    observations, actions = (torch.zeros(*shape, size, dtype=like.dtype, device=device) for size in sizes)
    progress = Progress(num_envs, horizon, device)
    longest = 0  # timesteps of the longest episode
    distributions: list[Any] = []
    for turn in turns:
        distributions.clear()
        progress.begin(turn)
        who = slice(turn.start // episodes, -(-turn.stop // episodes))  # the tasks of this turn
        own = {name: leaf[who] for name, leaf in params.items()}
        seen = _reset(results, seeds, rows, turn, num_envs)
        progress.break_where("observation", _bad(seen, like))
        for t in range(horizon):
            _keep(observations[:, t], _of_running(seen, progress.running), turn)
            distributions.append(policy.apply_stacked(own, observations[who, t].to(like)))
            if t == 0:
                _require_actions(distributions[-1].mode.shape[-1], env)
            actions[who, t] = distributions[-1].sample(noise[who, t])
            # A copy, because an environment may write into what it is given.
            own_copy = actions[:, t].clone().reshape(num_envs, -1)
            finite_actions, bad = _only_finite(own_copy, on_host=device is None)
            progress.break_where("action", bad)
            step = results.step(for_environment(finite_actions))
            _follow(progress, t, step, like)
            seen = step.observations
            longest = max(longest, t + 1)
            if not perhaps_any(progress.running):
                break
    if len(turns) > 1:
        # In turns, `distributions` has those of the last turn alone. The numbers must not depend on the turns.
        distributions = [policy.apply_stacked(params, observations[:, t].to(like)) for t in range(longest)]
    return _episodes(progress, observations.to(like), actions.to(like), distributions)


def _turns(env: VectorEnv) -> list[slice]:
    """Which of n environments are played together: all, or as many as can run at once (attribute `at_once`)."""
    n = env.num_envs
    at_once = getattr(env.unwrapped, "at_once", n)
    return [slice(first, min(first + at_once, n)) for first in range(0, n, at_once)]


def _reset(results: VectorResults, seeds: list[int], tasks: NDArray[np.float64], turn: slice, n: int) -> Any:
    """Start the episodes of a turn; the observations of all n environments, [n, O]."""
    options: dict[str, Any] = {"tasks": tasks}
    if turn.stop - turn.start < n:
        options["reset_mask"] = np.zeros(n, np.bool_)
        options["reset_mask"][turn] = True
    return results.reset(seeds, options)


def _of_running(seen: Array, running: Mask) -> Array:
    """Observations [n, O], 0 of environments whose episode is over: these may show anything, even nan."""
    return seen if known_all(running) else namespace(seen).where(running[:, None], seen, 0.0)


def _follow(progress: Progress, t: int, step: Step, like: Tensor) -> None:
    """Let the results of timestep t break and end episodes, in the order that `Progress` says."""
    progress.break_where("simulation", _diverged(step.info, progress.running))
    progress.break_where("reward", _bad(step.rewards, like))
    progress.record(t, step.rewards, step.info)
    progress.break_where("observation", _bad(step.observations, like))
    progress.end_where(step.ended)


def _diverged(info: dict[str, Any], like: Mask) -> Mask:
    """Which environments say that their simulation has broken down, [n], on the device of `like`."""
    if "diverged" not in info:
        return namespace(like).zeros_like(like)
    return info["diverged"] != 0


def _keep(into: Tensor, values: Array, turn: slice) -> None:
    """Write a turn's rows of values [n, K] into [M, E, K]."""
    rows = torch.as_tensor(values).reshape(into.shape)
    if turn.stop - turn.start == len(values):
        into.copy_(rows)
    else:
        inside = torch.zeros(into.shape[:2], dtype=torch.bool)
        inside.view(-1)[turn] = True
        into[inside] = rows.to(into)[inside]


def rollout_timesteps(
    env: VectorEnv,
    policy: Model,
    params: Params,
    tasks: NDArray[np.float64],
    *,
    horizon: int,
    key: Key,
    first_task: int = 0,
) -> Episodes:
    """Gather episodes as the authors' release does: E * T timesteps per task instead of E episodes.

    Each of a task's E environments starts a new episode as soon as one ends. Gathering stops at the timestep at which
    the completed episodes hold E * T timesteps, and unfinished episodes are dropped. Where episodes can end early,
    short ones are over-represented, so that returns are comparable with the published curves, and biased as they are.

    Arguments and errors are those of `rollout`. Returns rounds * E episodes per task; those that do not count are
    masked out.
    """
    rounds: list[Episodes] = []
    while True:
        episodes = rollout(env, policy, params, tasks, horizon=horizon, key=(*key, len(rounds)), first_task=first_task)
        rounds.append(episodes)
        lengths = torch.stack([gathered.num_steps for gathered in rounds], -1)  # [M, E, rounds]
        finished_at = lengths.clamp(min=1).cumsum(-1)  # the timestep at which an environment completes each episode
        budget = lengths.shape[1] * horizon
        stop = torch.stack([_stop_time(*task, budget) for task in zip(lengths, finished_at, strict=True)])  # [M]
        # A task whose episodes all broke in their first timestep would never gather enough.
        without_timesteps = lengths[..., -1].sum(1) == 0
        if ((finished_at[..., -1] >= stop[:, None]).all(1) | without_timesteps).all():
            break
    counted = (finished_at <= stop[:, None, None]).to(lengths).movedim(-1, 1).flatten(1)  # [M, rounds * E]
    whole: Episodes = tree_map(lambda *each: torch.cat(each, 1 if each[0].dim() == 2 else 2), *rounds)
    return whole._replace(
        mask=whole.mask * counted[:, None],
        rewards=whole.rewards * counted[:, None],
        breaks={reason: broken * counted for reason, broken in whole.breaks.items()},
    )


def _episodes(progress: Progress, observations: Tensor, actions: Tensor, distributions: list[Any]) -> Episodes:
    """Make Episodes of observations [M, T, E, O], actions [M, T, E, A], and the progress of n = M * E environments."""
    num_tasks, horizon, episodes = observations.shape[:3]

    def of_timesteps(values: Array | Mask) -> Tensor:
        by_time = torch.as_tensor(values).reshape(horizon, num_tasks, episodes)
        return by_time.movedim(0, 1).contiguous().to(observations)

    def of_episodes(values: Array | Mask) -> Tensor:
        return torch.as_tensor(values).reshape(num_tasks, episodes).to(observations)

    return Episodes(
        observations=observations,
        actions=actions,
        log_probs=_log_probs(distributions, actions),
        rewards=of_timesteps(progress.rewards),
        mask=of_timesteps(progress.mask),
        achieved=of_episodes(progress.achieved),
        success=of_episodes(progress.success),
        reward_terms={name: of_episodes(values) for name, values in progress.reward_terms.items()},
        breaks={reason: of_episodes(values) for reason, values in progress.breaks.items()},
    )


def _log_probs(distributions: list[Any], actions: Tensor) -> Tensor:
    """The log-probabilities [M, T, E] of actions [M, T, E, A]; 0 after the last timestep that was played."""
    # One call for all timesteps is faster than one call at each.
    behaviour = type(distributions[0])(*(torch.stack(fields, 1) for fields in zip(*distributions, strict=True)))
    log_probs = actions.new_zeros(actions.shape[:-1])
    log_probs[:, : len(distributions)] = behaviour.log_prob(actions[:, : len(distributions)])
    return log_probs


def _require_actions(size: int, env: VectorEnv) -> None:
    """Raise ValueError unless a policy's actions have as many numbers as the environment's: else they broadcast."""
    wanted = action_size(env.single_action_space)
    if size != wanted:
        raise ValueError(f"the policy's actions have {size} numbers; those of {env} must have {wanted}")


def _episodes_per_task(env: VectorEnv, num_tasks: int) -> int:
    require_vector(env)
    if env.num_envs % num_tasks:
        raise ValueError(f"{env.num_envs} environments cannot be shared evenly by {num_tasks} tasks")
    return env.num_envs // num_tasks


def _bad(values: Array, like: Tensor) -> Mask:
    """Which environments have a value that is not finite in the tensor's dtype: [n] or [n, k] -> [n]."""
    sizes: Any = abs(values) if is_tensor(values) else np.abs(values)
    limit = torch.finfo(like.dtype).max
    # The largest of all is nan if any is; this one comparison is faster than one for each environment.
    if not is_tensor(sizes) and sizes.max(initial=0.0) <= limit:
        return np.zeros(len(values), np.bool_)
    return ~(sizes.reshape(len(values), -1) <= limit).all(axis=1)


def _only_finite(actions: Tensor, *, on_host: bool) -> tuple[Any, Any]:
    """Actions [n, A] with 0 where they are not finite, and which environments have such an action, [n].

    Both are NumPy's arrays with `on_host`, and else tensors on the device of the actions.
    """
    # The sum is not finite if any action is not; one check is faster than one for each action.
    if on_host and torch.isfinite(actions.sum()):
        return actions.numpy(), np.zeros(len(actions), np.bool_)
    finite = actions.nan_to_num(0.0, 0.0, 0.0)
    broken = (~torch.isfinite(actions)).any(1)
    return (finite.numpy(), broken.numpy()) if on_host else (finite, broken)


def _stop_time(lengths: Tensor, finished_at: Tensor, budget: int) -> Tensor:
    """The first time at which a task's completed episodes hold `budget` timesteps; infinity if they never do.

    Args:
        lengths: timesteps of each episode, [E, rounds].
        finished_at: the time at which each episode is complete, [E, rounds].
        budget: E * T timesteps.
    """
    times, order = finished_at.flatten().sort()
    enough = lengths.flatten()[order].cumsum(0) >= budget
    return times[enough.nonzero()[0, 0]] if enough.any() else torch.full_like(times[0], torch.inf)


def _randomness(
    num_tasks: int, shape: tuple[int, ...], key: Key, first_task: int, like: Tensor
) -> tuple[Tensor, list[int]]:
    """Action noise [M, T, E, A] and M * E environment seeds, from a generator for each task."""
    sequences = [seed_sequence(*key, first_task + task) for task in range(num_tasks)]
    noise = np.stack([np.random.default_rng(s).standard_normal(shape, np.float32) for s in sequences])
    seeds = [int(seed) for s in sequences for seed in s.spawn(1)[0].generate_state(shape[1], np.uint64)]
    return torch.from_numpy(noise).to(like), seeds


ROLLOUTS: dict[str, Callable[..., Episodes]] = {"episodes": rollout, "timesteps": rollout_timesteps}
