"""Measure the system against references of the same run: python experiments/benchmark.py [NAME ...] --output FILE."""

import dataclasses
import functools
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import gymnasium
import mujoco
import mujoco.rollout
import numpy as np
import torch
import tyro
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorWrapper
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._pytree import tree_map

from envs.batched import TaskVectorEnv
from envs.locomotion import Locomotion
from envs.mujoco_physics import compile_model
from experiments.assemble import make_outer, make_problem
from experiments.command_line import run
from experiments.presets import PRESETS
from metarl.engine.model import Model
from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, ravel, stack
from metarl.engine.trust_region import CURVATURES, Matvec, conjugate_gradient
from metarl.randomness import Purpose
from metarl.rl.policies import gaussian_mlp
from metarl.rl.sampler import rollout
from metarl.training.checkpoint import write_atomically
from metarl.training.config import Config

DAMPING = 1e-5  # of the conjugate gradient, as in the presets
EPSILONS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Arguments:
    """What to measure."""

    names: tyro.conf.Positional[tuple[Literal["hvp", "sampler"], ...]] = ("hvp", "sampler")
    """hvp: accuracy of Hessian-vector products in float32 against exact ones in float64, and their cost. sampler:
    environment steps per second against open-loop physics and against Gymnasium's vector environments."""
    output: Path = Path("benchmark.json")
    """Where the figures go."""


def hvp(console: Console) -> list[dict[str, Any]]:
    """Every kind of product x epsilon x nonlinearity, on navigation-paper with 10 tasks, after 6 meta-iterations.

    Relative errors |H v - exact| / |exact| along the gradient, the exact trust-region step, and a random direction;
    `gain`: the share of the exact step's improvement per unit of KL that the step made of these products reaches;
    `cost`: seconds of a product over seconds of a meta-gradient.
    """
    rows = []
    for activation in ("tanh", "relu"):
        config = dataclasses.replace(PRESETS["navigation-paper"][1], tasks=10, activation=activation)
        single, exact = _objectives(config)
        gradient = ravel(exact.loss_and_gradient(exact.theta_old)[1])
        reference = exact.curvature(exact.theta_old, "exact")
        best = conjugate_gradient(reference, gradient, damping=DAMPING).x
        noise = torch.randn(len(best), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        directions = {"gradient": gradient, "step": best, "random": noise}
        products = {name: reference(v) for name, v in directions.items()}
        for kind in CURVATURES:
            for epsilon in EPSILONS if kind in ("symmetric", "forward") else (None,):
                options = {} if epsilon is None else {"epsilon": epsilon}
                matvec = single.curvature(single.theta_old, kind, **options)
                errors = {
                    f"error_{name}": ((matvec(v) - products[name]).norm() / products[name].norm()).item()
                    for name, v in directions.items()
                }
                step = conjugate_gradient(matvec, gradient, damping=DAMPING).x
                gain = _improvement(step, gradient, reference) / _improvement(best, gradient, reference)
                cost = _cost(
                    lambda matvec=matvec, v=noise: matvec(v),
                    lambda objective=single: objective.loss_and_gradient(objective.theta_old),
                )
                row = {"activation": activation, "kind": kind, "epsilon": epsilon, **errors, "gain": gain, "cost": cost}
                rows.append(row)
    console.print(_table("Hessian-vector products in float32", rows))
    return rows


def _objectives(config: Config) -> tuple[MetaObjective, MetaObjective]:
    """The objective of the 7th meta-iteration, in float32 and, with the very same data, in float64."""
    problem = make_problem(config)
    outer = make_outer(dataclasses.replace(config, curvature="gauss_newton"))
    theta = problem.initial_parameters(config.seed)
    for iteration in range(6):
        theta, _, _ = outer.step(theta, {}, problem.collect(theta, iteration)[0])
    single, _ = problem.collect(theta, 6)

    def double(tree: Any) -> Any:
        return tree_map(torch.Tensor.double, tree)

    theta64: Params = double(theta)
    support, query = double(single.support), double(single.query)
    return single, MetaObjective(theta64, single.rule, single.functions, support, query, num_tasks=single.num_tasks)


def _improvement(step: Tensor, gradient: Tensor, matvec: Matvec) -> float:
    """First-order improvement of a step scaled to unit KL: g^T s / sqrt(s^T H s)."""
    return (gradient.dot(step) / step.dot(matvec(step)).sqrt()).item()


def _cost(call: Callable[[], object], reference: Callable[[], object], repeats: int = 5) -> float:
    """Median over repeats of a call's seconds over those of the reference just before it, after a warm-up."""
    ratios = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        reference()
        between = time.perf_counter()
        call()
        ratios.append((time.perf_counter() - between) / (between - start))
    return statistics.median(ratios[1:])


def sampler(console: Console) -> dict[str, list[dict[str, Any]]]:
    """Environment steps per second of the real sampler with a real policy, beside references of the same minute.

    `share`: each robot and kind of dynamics, 800 environments (40 tasks x 20), 200 timesteps: `closed_loop` is
    `rl.sampler.rollout` with the paper's policy; `open_loop` one `mujoco.rollout` call over the whole horizon, with the
    same model, batch, threads and actions, nothing read but the states; both the best of 3, in turn.
    `gymnasium`: its own v5 environment in its vector environments with given random actions, by number of environments.
    `growth`: the closed loop by number of environments and threads.
    """
    share, vectors, growth = [], [], []
    threads = len(os.sched_getaffinity(0))
    for robot, name in (("half-cheetah", "HalfCheetah"), ("ant", "Ant")):
        for dynamics in ("gymnasium", "paper"):
            open_loop, closed_loop = _open_and_closed_loop(f"metarl/{name}Dir-v0", dynamics)
            share.append(
                {"robot": robot, "dynamics": dynamics, "threads": threads, "open_loop": open_loop}
                | {"closed_loop": closed_loop, "share": closed_loop / open_loop}
            )
        for kind, n in itertools.product(("sync", "async"), (1, 2, 4, 8, 16)):
            vectors.append({"robot": robot, "kind": kind, "num_envs": n, "steps_per_s": _gymnasium_rate(name, kind, n)})
        for used, n in itertools.product(sorted({1, threads}), (1, 10, 100, 800, 3000, 10000)):
            rate = _growth_rate(f"metarl/{name}Dir-v0", n, used)
            growth.append({"robot": robot, "threads": used, "num_envs": n, "steps_per_s": rate})
    for title, rows in (("closed loop", share), ("Gymnasium's vector environments", vectors), ("growth", growth)):
        console.print(_table(title, rows))
    return {"share": share, "gymnasium": vectors, "growth": growth}


def _open_and_closed_loop(environment: str, dynamics: str, repeats: int = 3) -> tuple[float, float]:
    """Environment steps per second, best of `repeats`, the two in turn."""
    tasks, episodes, horizon = 40, 20, 200
    env = TaskVectorEnv(environment, tasks * episodes, dynamics=dynamics, horizon=horizon)
    watched = _Starts(env)
    policy, params, rows = _policy(env, tasks)
    physics = cast(Locomotion, env.family).physics
    plain = compile_model(physics.xml, timestep=physics.model.opt.timestep)
    threads = [mujoco.MjData(plain) for _ in os.sched_getaffinity(0)]  # pyright: ignore[reportAttributeAccessIssue]
    closed, opened = [], []
    with mujoco.rollout.Rollout(nthread=len(threads)) as pool:
        for repeat in range(repeats):
            start = time.perf_counter()
            key = (repeat, Purpose.TRAINING_ROLLOUTS, 0, 0)
            taken = rollout(watched, policy, params, rows, horizon=horizon, key=key)
            closed.append(taken.num_steps.sum().item() / (time.perf_counter() - start))

            begun = watched.begun  # the very same episodes, but that those which ended early go on
            states = np.concatenate([physics.of(begun, name) for name in ("time", "qpos", "qvel")], axis=1)
            actions = taken.actions.movedim(1, 2).flatten(0, 1).double().numpy().clip(-1, 1)  # [n, T, A]
            control = np.repeat(actions, physics.frame_skip, axis=1)
            start = time.perf_counter()
            pool.rollout(plain, threads, states, control)
            opened.append(len(states) * horizon / (time.perf_counter() - start))
    return max(opened), max(closed)


class _Starts(VectorWrapper):
    """Remembers the states in which episodes began."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        result = self.env.reset(**arguments)
        self.begun = cast(TaskVectorEnv, self.env).states
        return result


def _growth_rate(environment: str, num_envs: int, threads: int) -> float:
    """Environment steps per second of the closed loop; one task for every 20 environments."""
    tasks, horizon = max(1, num_envs // 20), 10
    env = TaskVectorEnv(environment, num_envs, threads=threads, horizon=horizon)
    policy, params, rows = _policy(env, tasks)
    rates = []
    for repeat in range(4):
        start = time.perf_counter()
        taken = rollout(env, policy, params, rows, horizon=horizon, key=(repeat, Purpose.TRAINING_ROLLOUTS, 0, 0))
        rates.append(taken.num_steps.sum().item() / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def _policy(env: TaskVectorEnv, tasks: int) -> tuple[Model, Params, NDArray[np.float64]]:
    """The paper's policy for an environment, its parameters for every task, and the tasks."""
    sizes = [cast(tuple[int], space.shape)[0] for space in (env.single_observation_space, env.single_action_space)]
    policy = gaussian_mlp(*sizes)
    rows = env.sample_tasks(np.random.default_rng(0), tasks)
    return policy, stack(policy.init(torch.Generator().manual_seed(0)), tasks), rows


def _gymnasium_rate(name: str, kind: str, num_envs: int, seconds: float = 3.0) -> float:
    """Environment steps per second of Gymnasium's v5 environment under random actions, drawn beforehand."""
    vector = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}[kind]
    env = vector([functools.partial(gymnasium.make, f"{name}-v5")] * num_envs)
    env.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (100, *cast(tuple[int, ...], env.action_space.shape)))
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for action in actions:
            env.step(action)
        steps += len(actions) * num_envs
    rate = steps / (time.perf_counter() - start)
    env.close()
    return rate


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name.replace("_", "\n"), justify="right")
    for row in rows:
        table.add_row(*(f"{value:.2g}" if isinstance(value, float) else str(value or "-") for value in row.values()))
    return table


def main(arguments: Arguments) -> None:
    """Run the named benchmarks and write one JSON document."""
    console = Console()
    benchmarks: dict[str, Callable[[Console], Any]] = {"hvp": hvp, "sampler": sampler}
    results = {name: benchmarks[name](console) for name in arguments.names}
    document = {
        "torch": torch.__version__,
        "mujoco": mujoco.__version__,
        "gymnasium": gymnasium.__version__,
        "cores": len(os.sched_getaffinity(0)),
        **results,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.output, (json.dumps(document, indent=1) + "\n").encode())
    console.print(f"figures: {arguments.output}", highlight=False, soft_wrap=True)


def command(argv: Sequence[str]) -> None:
    """The script: its arguments without its name."""
    run(lambda args: tyro.cli(Arguments, prog="experiments/benchmark.py", description=__doc__, args=args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
