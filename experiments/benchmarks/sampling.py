"""Environment steps per second of the sampler, beside references that are measured in turn with it."""

import functools
import itertools
import statistics
import time
from typing import Any, cast

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv, VectorWrapper
from numpy.typing import NDArray
from rich.console import Console

from metarl.engine.model import Model
from metarl.engine.params import Params, stack
from metarl.envs.batched import TaskVectorEnv
from metarl.envs.family import make_family
from metarl.envs.locomotion import Locomotion
from metarl.envs.physics.models import compile_model
from metarl.envs.physics.mujoco_threads import MujocoThreads
from metarl.experiments.benchmarks.report import seconds, show
from metarl.extras import needs
from metarl.operating_system import cores
from metarl.randomness import Purpose
from metarl.rl.episodes import Episodes
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.sampler import rollout

with needs("mujoco", "benchmarks"):
    import mujoco
    import mujoco.rollout

ROBOTS = {"half-cheetah": "HalfCheetah", "ant": "Ant"}  # beginnings of Gymnasium's ids
OURS = {"half-cheetah": "metarl/HalfCheetahDir-v0", "ant": "metarl/AntDir-v1"}
EPISODES = 20
HORIZON = 200
VECTORS = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}
NUM_ENVS = (1, 2, 4, 8, 16)


def sampler(console: Console, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Measure environment steps per second of the sampler with a policy, in three rounds.

    `share`: each robot and kind of dynamics, 800 environments (40 tasks x 20), 200 timesteps. `closed_loop` is
    `rl.sampler.rollout` with the paper's policy; `open_loop` is one `mujoco.rollout` call over the whole horizon, with
    the same model, batch, threads and actions, which reads nothing but the states. Both are the best of three rounds,
    `share` is their ratio, and `median_share` the median of the rounds' ratios.
    `gymnasium`: Gymnasium's v5 environment in its vector environments under random actions, by number of environments,
    the best of three rounds; `ratio` is the closed loop divided by it, the median of the rounds' ratios.
    """
    tasks, horizon, repeats = (2, 5, 1) if quick else (40, HORIZON, 3)
    counts = NUM_ENVS[:2] if quick else NUM_ENVS
    share: list[dict[str, Any]] = []
    vectors: list[dict[str, Any]] = []
    threads = cores()
    for robot, name in ROBOTS.items():
        for dynamics in ("gymnasium", "paper"):
            loops = Loops(OURS[robot], dynamics, tasks, horizon)
            others = _vectors(name, counts) if dynamics == "gymnasium" else {}
            rounds = []
            for repeat in range(repeats):
                closed = loops.closed(repeat)
                opened = loops.opened()
                rounds.append((closed, opened, {key: _steps_per_s(env, quick) for key, env in others.items()}))
            closed = max(rate for rate, _, _ in rounds)
            opened = max(rate for _, rate, _ in rounds)
            row = {"robot": robot, "dynamics": dynamics, "threads": threads, "open_loop": opened, "closed_loop": closed}
            shares = {"share": closed / opened, "median_share": statistics.median(c / o for c, o, _ in rounds)}
            share.append(row | shares)
            for (kind, n), env in others.items():
                rates = [each[kind, n] for _, _, each in rounds]
                ratio = statistics.median(c / rate for (c, _, _), rate in zip(rounds, rates, strict=True))
                row = {"robot": robot, "kind": kind, "num_envs": n, "steps_per_s": max(rates), "ratio": ratio}
                vectors.append(row)
                env.close()
    titles = {"share": share, "gymnasium": vectors}
    for title, rows in titles.items():
        show(console, title, rows)
    return titles


def environments(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure environment steps per second of the sampler by number of environments and threads.

    Each is the best of two rounds of 10 timesteps. The time of resets is included, which matters for few environments.
    """
    threads = sorted({1, cores()})
    counts = (1, 10) if quick else (1, 10, 100, 800, 3000, 10000)
    rows = []
    for robot, used, n in itertools.product(ROBOTS, threads, counts):
        rate = _rate(OURS[robot], n, used)
        rows.append({"robot": robot, "threads": used, "num_envs": n, "steps_per_s": rate})
    show(console, "environments", rows)
    return rows


class Loops:
    """The closed and the open loop over the same episodes; both give environment steps per second."""

    def __init__(self, environment: str, dynamics: str, tasks: int, horizon: int) -> None:
        family = cast(Locomotion, make_family(environment, dynamics=dynamics))
        self.env = family.build(tasks * EPISODES, horizon=horizon)
        self.watched = _Starts(self.env)
        self.horizon = horizon
        self.policy, self.params, self.rows = policy_for(self.env, tasks)
        self.physics = cast(MujocoThreads, family.physics)
        robot = family.robot
        self.plain = compile_model(robot.xml, timestep=robot.timestep, contacts=robot.contacts)

    def closed(self, repeat: int) -> float:
        """Play episodes by the sampler with a policy."""
        self.taken, rate = timed_rollout(self.watched, self.policy, self.params, self.rows, self.horizon, repeat)
        return rate

    def replayed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The states [n, 1 + nq + nv] in which the last closed loop began, and its controls [n, MuJoCo steps, A]."""
        begun = self.watched.begun
        physics = self.physics
        states = np.concatenate([physics.of(begun, name) for name in ("time", "qpos", "qvel")], axis=1)
        actions = self.taken.actions.movedim(1, 2).flatten(0, 1).double().numpy().clip(-1, 1)  # [n, T, A]
        return states, np.repeat(actions, physics.frame_skip, axis=1)

    def opened(self) -> float:
        """Repeat the episodes of the last `closed` by physics alone; episodes that ended early go on."""
        states, control = self.replayed()
        threads = [mujoco.MjData(self.plain) for _ in range(cores())]  # pyright: ignore[reportAttributeAccessIssue]
        with mujoco.rollout.Rollout(nthread=len(threads)) as pool:
            return len(states) * self.horizon / seconds(lambda: pool.rollout(self.plain, threads, states, control))


class _Starts(VectorWrapper):
    """A wrapper that remembers the states in which episodes began."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(**arguments)
        self.begun = cast(TaskVectorEnv, self.env).states
        return result


def _rate(environment: str, num_envs: int, threads: int) -> float:
    """Environment steps per second of the closed loop, the best of two; one task for every 20 environments."""
    tasks = max(1, num_envs // EPISODES)
    horizon = 10
    env = make_family(environment, threads=threads).build(num_envs, horizon=horizon)
    policy, params, rows = policy_for(env, tasks)
    rates = [timed_rollout(env, policy, params, rows, horizon, repeat)[1] for repeat in range(2)]
    # The first one also allocates.
    return max(rates)


def timed_rollout(
    env: VectorEnv, policy: Model, params: Params, rows: NDArray[np.float64], horizon: int, repeat: int
) -> tuple[Episodes, float]:
    """Play episodes by the sampler, and return them with the environment steps per second, resets included."""
    key = (repeat, Purpose.TRAINING_ROLLOUTS, 0, 0)
    start = time.perf_counter()
    taken = rollout(env, policy, params, rows, horizon=horizon, key=key)
    return taken, taken.num_steps.sum().item() / (time.perf_counter() - start)


def policy_for(env: TaskVectorEnv, tasks: int) -> tuple[Model, Params, NDArray[np.float64]]:
    """The paper's policy for an environment, its parameters for every task, and the tasks."""
    policy = GaussianMLP().build(env.single_observation_space, env.single_action_space)
    rows = env.sample_tasks(np.random.default_rng(0), tasks)
    return policy, stack(policy.init(torch.Generator().manual_seed(0)), tasks), rows


def _vectors(name: str, counts: tuple[int, ...]) -> dict[tuple[str, int], VectorEnv]:
    """Gymnasium's v5 environment of a robot in its vector environments, by kind and number of environments."""
    made = {}
    for (kind, vector), n in itertools.product(VECTORS.items(), counts):
        made[kind, n] = vector([functools.partial(gymnasium.make, f"{name}-v5")] * n)
        made[kind, n].reset(seed=0)
    return made


def _steps_per_s(env: VectorEnv, quick: bool) -> float:
    """Environment steps per second of a Gymnasium vector environment, for two seconds."""
    actions = np.random.default_rng(0).uniform(-1, 1, (50, *cast(tuple[int, ...], env.action_space.shape)))
    steps = 0
    start = time.perf_counter()
    while time.perf_counter() - start < (0.0 if quick else 2.0) or not steps:
        for action in actions:
            env.step(action)
        steps += len(actions) * env.num_envs
    return steps / (time.perf_counter() - start)
