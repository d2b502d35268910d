"""Simulations, policy, adaptation and outer step on a GPU, beside the CPU: one run of less than 8 minutes.

Without a GPU everything runs on the CPU back end of MuJoCo Warp, to see that it does; the figures then mean nothing.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console

from metarl.engine.params import Params
from metarl.envs.family import make_family
from metarl.envs.locomotion import Locomotion
from metarl.envs.physics.models import ASSETS
from metarl.envs.physics.mujoco_threads import MujocoThreads
from metarl.experiments.benchmarks.changed_presets import configured
from metarl.experiments.benchmarks.iteration import stages
from metarl.experiments.benchmarks.report import show
from metarl.experiments.benchmarks.sampling import OURS, policy_for, timed_rollout
from metarl.extras import require

SECONDS = 450  # of everything
KINDS = ("gymnasium", "paper")  # of dynamics
WORLDS = (400, 1600, 6400, 16384, 65536)
ITERATIONS = ("cheetah-dir", "ant-dir-paper")  # presets whose meta-iteration is measured
TRAINED = "ant-dir"  # the preset that is trained for the rest of the time
SMALL = {"tasks": 2, "episodes": 2, "horizon": 5, "hidden_sizes": (8,)}
Rows = list[dict[str, Any]]


def device(console: Console, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield the figures after each of these, as far as SECONDS allow.

    `parity`: the largest difference of one step from MuJoCo's, over 20 steps from MuJoCo's states, for both robots and
    kinds of dynamics; `ant-elliptic` is the ant with elliptic cones, which both engines compute alike. `first` is the
    time of the first step, in which Warp compiles its kernels.
    `rates`: timesteps per second by number of simulations, best of two: of physics alone (50 steps under the same
    controls), and of `rl.sampler.rollout` with the paper's policy, 100 timesteps, resets and noise included.
    `iteration`: seconds of a meta-iteration with TRPO, by stage, on the device and on the CPU's threads: medians after
    a first one, on the CPU the second of two.
    `training`: every iteration of `ant-dir` until the time is up.
    """
    require("gpu", "simulations on a device")
    begun = time.perf_counter()
    where = "cuda" if torch.cuda.is_available() else "cpu"
    document: dict[str, Any] = {"device": torch.cuda.get_device_name() if where == "cuda" else "CPU back end of Warp"}

    def late(share: float) -> bool:
        return time.perf_counter() - begun > share * SECONDS

    document["parity"] = []
    for name, xml, robot, dynamics in _models(quick):
        if late(0.3):
            break
        document["parity"].append(parity(name, xml, robot, dynamics, where))
        yield document
    show(console, "one step, largest differences from MuJoCo", document["parity"])

    document["rates"] = []
    for worlds in (4, 8) if quick else WORLDS:
        for robot in OURS:
            if not late(0.4):
                document["rates"].append(rate(robot, worlds, where, quick=quick))
                yield document
    show(console, "timesteps per second", document["rates"])

    document["iteration"] = []
    for preset in ITERATIONS:
        for place in (where, "threads"):
            if not late(0.65):
                document["iteration"].append(whole_iteration(preset, place, quick=quick))
                yield document
    show(console, "a meta-iteration, seconds", document["iteration"])

    document["training"] = []
    for row in trained(where, quick=quick):
        document["training"].append(row)
        yield document
        if late(0.95) or (quick and len(document["training"]) == 2):
            break
    show(console, f"{TRAINED}, first and last iterations", [*document["training"][:3], *document["training"][-3:]])
    document["seconds"] = time.perf_counter() - begun
    yield document


def _models(quick: bool) -> Iterator[tuple[str, str | None, str, str]]:
    """The models on which simulators are compared: name, own file if there is one, robot, kind of dynamics."""
    for robot in OURS:
        for dynamics in KINDS[:1] if quick else KINDS:
            yield robot, None, robot, dynamics
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            yield "ant-elliptic", elliptic(Path(folder)), "ant", "gymnasium"


def elliptic(folder: Path) -> str:
    """Write Gymnasium's ant with elliptic friction cones, and return its path."""
    path = folder / "ant.xml"
    path.write_text((ASSETS / "ant.xml").read_text().replace("<option ", '<option cone="elliptic" '))
    return str(path)


def parity(name: str, xml: str | None, robot: str, dynamics: str, where: str, steps: int = 20) -> dict[str, Any]:
    """The largest differences of one step, by quantity."""
    # Imported here, because it needs the extra.
    from metarl.envs.physics.mujoco_device import MujocoDevice

    body = cast(Locomotion, make_family(OURS[robot], dynamics=dynamics)).robot
    arguments: dict[str, Any] = {
        "frame_skip": body.frame_skip,
        "timestep": body.timestep,
        "measured": body.measured,
        "contacts": body.contacts,
    }
    ours = MujocoDevice(xml or body.xml, device=where, **arguments)
    theirs = MujocoThreads(xml or body.xml, **arguments)
    model = theirs.model
    n = 64
    rng = np.random.default_rng(0)
    states = theirs.start(body.pose(model) + rng.uniform(-0.1, 0.1, (n, model.nq)), rng.normal(0, 0.1, (n, model.nv)))
    names = ("qpos", "qvel", *body.measured)
    largest = dict.fromkeys(names, 0.0)
    seconds = []
    for _ in range(steps):
        controls = rng.uniform(-1, 1, (n, model.nu))
        start = time.perf_counter()
        after: Any = ours.step(torch.tensor(states, dtype=torch.float32, device=where), torch.tensor(controls))
        after = after.double().cpu().numpy()
        seconds.append(time.perf_counter() - start)
        states = theirs.step(states, controls)
        for key in names:
            largest[key] = max(largest[key], float(np.abs(ours.of(after, key) - theirs.of(states, key)).max()))
    return {"robot": name, "dynamics": dynamics, **largest, "first": seconds[0]}


def rate(robot: str, worlds: int, where: str, *, quick: bool) -> dict[str, Any]:
    """Timesteps per second of physics alone and of the sampler."""
    horizon, steps = (3, 2) if quick else (100, 50)
    family = make_family(OURS[robot], simulator="warp", observation="compact").on(where)
    env = family.build(worlds, horizon=horizon)
    policy, params, rows = policy_for(env, tasks=4 if quick else 40)
    params = {name: leaf.to(where) for name, leaf in params.items()}
    sampled = [timed_rollout(env, policy, params, rows, horizon, repeat)[1] for repeat in range(2)]
    physics = cast(Locomotion, env.process).physics
    states: Any = env.states
    controls = torch.rand(worlds, physics.model.nu, generator=torch.Generator().manual_seed(0)).to(where) * 2 - 1
    rates = []
    for _ in range(2):
        _wait(where)
        start = time.perf_counter()
        for _ in range(steps):
            states = physics.step(states, cast(Any, controls))
        _wait(where)
        rates.append(worlds * steps / (time.perf_counter() - start))
    return {"robot": robot, "worlds": worlds, "physics": max(rates), "sampler": max(sampled)}


def whole_iteration(preset: str, place: str, *, quick: bool) -> dict[str, Any]:
    """Seconds of the stages of a meta-iteration on a device, or on the CPU's threads."""
    on_threads = place == "threads"
    where = {"device": "cpu", "simulator": "threads"} if on_threads else {"device": place, "simulator": "warp"}
    # An outer optimiser of several stages, which keeps no state.
    ready = configured(preset, {"outer": "trpo"} | where | (SMALL if quick else {}))
    theta = ready.problem.initial_parameters(ready.options.seed)
    laps = []
    for index in range(2 if on_threads or quick else 4):
        theta, lap = stages(ready, theta, index)
        laps.append(lap)
    # The first iteration also allocates, and on a device compiles.
    medians = {name: statistics.median(lap[name] for lap in laps[1:]) for name in laps[0]}
    return {"preset": preset, "place": place, **medians, "first": laps[0]["total"]}


def trained(where: str, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Train, and yield a row for each iteration."""
    ready = configured(TRAINED, {"device": where, "simulator": "warp"} | (SMALL if quick else {}))
    theta: Params = ready.problem.initial_parameters(ready.options.seed)
    state = ready.outer.init(theta)
    begun = time.perf_counter()
    for index in range(ready.options.iterations):
        objective, metrics = ready.problem.collect(theta, index)
        theta, state, info = ready.outer.step(theta, state, objective)
        if not info["nonfinite"]:
            theta = ready.problem.refresh(theta, objective)
        row = {name: value for name, value in metrics.items() if "return" in name or "broken" in name}
        seconds = time.perf_counter() - begun
        yield {"iteration": index, "seconds": seconds, "env_steps": metrics["env_steps"], **row}


def _wait(where: str) -> None:
    if where == "cuda":
        torch.cuda.synchronize()
