"""Rollouts: a vector environment x the stacked parameters of M tasks -> Episodes, one policy call per timestep."""

from collections.abc import Callable

import numpy as np
import torch
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.randomness import Purpose, seed_sequence
from metarl.rl.episodes import Episodes
from metarl.rl.policies import DiagonalGaussian
from metarl.threads import torch_threads

Key = tuple[int, Purpose, *tuple[int, ...]]  # (seed, purpose, iteration, inner step): see randomness.py


@torch.no_grad()
@torch_threads(1)  # a timestep's batches are small, and the environments have threads of their own
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
    """E complete episodes of each task, every task under its own parameters.

    What is not finite, or too large for the parameters' dtype, ends its episode, and the timestep does not count.
    Actions that are not stay as they are: the losses of their task then are not finite either.

    Args:
        env: M * E environments without auto-reset; environment m * E + e runs episode e of task m.
        policy: observations [..., O] -> DiagonalGaussian.
        params: stacked parameters, every leaf [M, ...].
        tasks: one row for each task [M, k], or one for each environment [M * E, k].
        horizon: timesteps T to record at most.
        key: what the generators are keyed by; the global index of the task is appended.
        first_task: global index of the first of these tasks.

    Returns:
        Episodes on the parameters' device, in their dtype.

    Raises:
        ValueError: a number of environments that is not a multiple of M, auto-reset, observations or actions that
            are not vectors.
    """
    like = next(iter(params.values()))
    num_tasks, num_envs, episodes = len(like), env.num_envs, _episodes_per_task(env, len(like))
    rows = tasks if len(tasks) == num_envs else np.repeat(tasks, episodes, axis=0)
    observation_size, action_size = map(_vector_size, (env.single_observation_space, env.single_action_space))
    noise, seeds = _randomness(num_tasks, (horizon, episodes, action_size), key, first_task, like)

    shape = (num_tasks, horizon, episodes)
    observations, actions = (torch.zeros(*shape, size, dtype=like.dtype) for size in (observation_size, action_size))
    rewards, mask = (torch.zeros(shape, dtype=like.dtype) for _ in range(2))
    distributions: list[DiagonalGaussian] = []

    seen, info = env.reset(seed=seeds, options={"tasks": rows})  # pyright: ignore[reportArgumentType]  # one seed each
    bad_observation = _bad(seen, like)
    running = ~bad_observation
    diverged, bad_reward, bad_action = (np.zeros(num_envs, np.bool_) for _ in range(3))
    achieved = np.full(num_envs, np.nan)
    for t in range(horizon):
        if not running.all():
            seen = np.where(running[:, None], seen, 0.0)  # whatever an ended environment shows, even nan, stays out
        observations[:, t] = torch.from_numpy(seen).reshape(num_tasks, episodes, -1)
        distributions.append(policy.apply_stacked(params, observations[:, t].to(like)))
        actions[:, t] = distributions[-1].sample(noise[:, t])
        finite_actions, bad = _only_finite(actions[:, t].reshape(num_envs, -1))
        bad_action |= running & bad
        seen, reward, terminated, truncated, info = env.step(finite_actions)
        achieved = np.where(running, info.get("achieved", np.nan), achieved)
        diverged |= running & np.asarray(info.get("diverged", False), np.bool_)
        bad_reward |= running & ~diverged & _bad(reward, like)
        counts = running & ~(bad_action | diverged | bad_reward)  # a broken timestep is none
        bad_observation |= counts & ~(terminated | truncated) & _bad(seen, like)
        mask[:, t] = torch.from_numpy(counts).reshape(num_tasks, episodes)
        rewards[:, t] = torch.from_numpy(np.where(counts, reward, 0.0)).reshape(num_tasks, episodes)
        running = counts & ~bad_observation & ~(terminated | truncated)
        if not running.any():
            break

    return Episodes(
        observations=observations.to(like),
        actions=actions.to(like),
        log_probs=_log_probs(distributions, actions.to(like)),
        rewards=rewards.to(like),
        mask=mask.to(like),
        achieved=_per_episode(achieved, num_tasks, episodes).to(like),
        diverged=_per_episode(diverged | bad_observation | bad_reward | bad_action, num_tasks, episodes).to(like),
        nonfinite_observation=_per_episode(bad_observation, num_tasks, episodes).to(like),
        nonfinite_reward=_per_episode(bad_reward, num_tasks, episodes).to(like),
        nonfinite_action=_per_episode(bad_action, num_tasks, episodes).to(like),
    )


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
    """Episodes as the authors' release gathers them: E * T timesteps per task instead of E episodes.

    Each of a task's E environments starts again as soon as its episode ends; gathering stops at the timestep at
    which the completed episodes hold E * T timesteps, and what is unfinished then is dropped. Where episodes can end
    early, short ones are over-represented: returns are comparable with the published curves, and biased.

    Args and errors as of `rollout`. Returns rounds * E episodes per task; those that do not count are masked out.
    """
    rounds: list[Episodes] = []
    while True:
        episodes = rollout(env, policy, params, tasks, horizon=horizon, key=(*key, len(rounds)), first_task=first_task)
        rounds.append(episodes)
        lengths = torch.stack([one.num_steps for one in rounds], -1)  # [M, E, rounds]
        finished_at = lengths.clamp(min=1).cumsum(-1)  # when an environment completes its episodes, in timesteps
        budget = lengths.shape[1] * horizon
        stop = torch.stack([_stop_time(*task, budget) for task in zip(lengths, finished_at, strict=True)])  # [M]
        broken = lengths[..., -1].sum(1) == 0  # every episode, in its first timestep
        if ((finished_at[..., -1] >= stop[:, None]).all(1) | broken).all():
            break
    counted = (finished_at <= stop[:, None, None]).to(lengths).movedim(-1, 1).flatten(1)  # [M, rounds * E]
    whole = Episodes(*(torch.cat(fields, 1 if fields[0].dim() == 2 else 2) for fields in zip(*rounds, strict=True)))
    of_timesteps = {name: getattr(whole, name) * counted[:, None] for name in ("mask", "rewards")}
    of_episodes = ("diverged", "nonfinite_observation", "nonfinite_reward", "nonfinite_action")
    return whole._replace(**of_timesteps, **{name: getattr(whole, name) * counted for name in of_episodes})


def _log_probs(distributions: list[DiagonalGaussian], actions: Tensor) -> Tensor:
    """Of the actions [M, T, E, A] under the policies of the first timesteps, all at once: faster; then 0; [M, T, E]."""
    behaviour = DiagonalGaussian(*(torch.stack(fields, 1) for fields in zip(*distributions, strict=True)))
    log_probs = actions.new_zeros(actions.shape[:-1])
    log_probs[:, : len(distributions)] = behaviour.log_prob(actions[:, : len(distributions)])
    return log_probs


def _episodes_per_task(env: VectorEnv, num_tasks: int) -> int:
    if env.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        raise ValueError(f"{env} resets by itself: rollouts need autoreset_mode DISABLED")
    if env.num_envs % num_tasks:
        raise ValueError(f"{env.num_envs} environments cannot be shared evenly by {num_tasks} tasks")
    return env.num_envs // num_tasks


def _bad(values: NDArray[np.floating], like: Tensor) -> NDArray[np.bool_]:
    """Which environments have a value among theirs that is not finite in the tensor's dtype; [n] or [n, k] -> [n]."""
    fine = np.less_equal(np.abs(values), torch.finfo(like.dtype).max)  # nan is not
    return np.logical_not(np.logical_and.reduce(fine.reshape(len(values), -1), axis=1))


def _only_finite(actions: Tensor) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Actions [n, A] with 0 where they are not finite, and which environments that are [n]."""
    if torch.isfinite(actions.sum()):  # the sum: faster, and nan or infinite if any of them is
        return actions.numpy(), np.zeros(len(actions), np.bool_)
    return actions.nan_to_num(0.0, 0.0, 0.0).numpy(), (~torch.isfinite(actions)).any(1).numpy()


def _stop_time(lengths: Tensor, finished_at: Tensor, budget: int) -> Tensor:
    """The first time at which completed episodes hold `budget` timesteps, else infinity; all [E, rounds]."""
    times, order = finished_at.flatten().sort()
    enough = lengths.flatten()[order].cumsum(0) >= budget
    return times[enough.nonzero()[0, 0]] if enough.any() else torch.full_like(times[0], torch.inf)


def _per_episode(values: ArrayLike, num_tasks: int, episodes: int) -> Tensor:
    """What the environments last reported, one value each or one for all, as [M, E]."""
    each = np.broadcast_to(np.asarray(values, dtype=np.float64), num_tasks * episodes)
    return torch.from_numpy(each.copy()).reshape(num_tasks, episodes)


def _vector_size(space: Space) -> int:
    if space.shape is None or len(space.shape) != 1:
        raise ValueError(f"observations and actions must be vectors; got {space}")
    return space.shape[0]


def _randomness(
    num_tasks: int, shape: tuple[int, ...], key: Key, first_task: int, like: Tensor
) -> tuple[Tensor, list[int]]:
    """Action noise [M, T, E, A] and M * E environment seeds; each task's come from a generator of its own."""
    sequences = [seed_sequence(*key, first_task + task) for task in range(num_tasks)]
    noise = np.stack([np.random.default_rng(s).standard_normal(shape, np.float32) for s in sequences])
    seeds = [int(seed) for s in sequences for seed in s.spawn(1)[0].generate_state(shape[1], np.uint64)]
    return torch.from_numpy(noise).to(like), seeds


ROLLOUTS: dict[str, Callable[..., Episodes]] = {"episodes": rollout, "timesteps": rollout_timesteps}
