"""Several ranks: what they exchange, how fast two ranks on one machine are, and the cost of a slow network.

The hosts of a slow network are network namespaces of this machine with tunnels between them, which need root.
"""

import fcntl
import os
import select
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from metarl.experiments.benchmarks.report import show
from metarl.experiments.presets.configuration import preset_config
from metarl.shard import Shard
from metarl.training.callbacks.csv import read_metrics
from metarl.training.config import Config
from metarl.training.distributed import agree
from metarl.training.run_directory import METRICS
from metarl.training.tree import with_options

TRAIN = str(Path(__file__).parents[1] / "train.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
FLAGS = {  # of the runs for `efficiency`: half a minute, one minute
    "navigation": "--iterations 8",
    "cheetah-dir": "--iterations 5 --outer trpo --tasks 40",
}
SMALL = "navigation --tasks 16 --episodes 5 --horizon 20 --hidden-sizes 64 64 --iterations 8"  # fractions of a second
HOST = "metarl{}"  # name of a network namespace, and of its device
ADDRESS = "10.77.0.{}"
# Of linux/if_tun.h.
TUNSETIFF = 0x400454CA
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000


def ranks(console: Console, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Measure ranks in four tables.

    `traffic`: all-reduces and bytes of a meta-iteration whose line search accepts its first step, on each rank.
    `efficiency`: meta-iterations that two ranks make together on two cores, one thread each, divided by those that two
    independent processes make at the same time.
    `delays`: seconds of a small meta-iteration by number of hosts and one-way delay, and those of the model;
    `delays_each` is what an all-reduce adds to the time without delay, in units of the delay.
    `model`: seconds that the network adds to an iteration of `navigation` with more ranks, by `network_seconds`.
    """
    result = {"traffic": _traffic()}
    if not quick:
        result["efficiency"] = [_efficiency(preset, seed) for preset in FLAGS for seed in (1, 2, 3)]
        result["delays"] = _delays()
    result["model"] = _model(result["traffic"][0])
    for name, rows in result.items():
        show(console, name, rows)
    return result


def _traffic() -> list[dict[str, Any]]:
    rows = []
    # What ranks exchange does not depend on these sizes.
    sizes = {"outer": "trpo", "tasks": 2, "episodes": 2, "horizon": 10}
    configs: dict[str, Config] = {
        name: with_options(preset_config(name), sizes) for name in ("navigation", "cheetah-dir", "cheetah-dir-paper")
    }
    configs["sinusoid"] = with_options(preset_config("sinusoid"), {"compile": False})
    for name, config in configs.items():
        sent: list[int] = []

        def count(total: Tensor, sent: list[int] = sent) -> Tensor:
            sent.append(total.numel() * total.element_size())
            return total

        shard = Shard(reduce=count)
        problem = config.problem.build(config.setting(shard))
        outer = config.outer.build()
        theta = problem.initial_parameters(config.seed)
        objective, _ = problem.collect(theta, 1)
        theta, _, info = outer.step(theta, outer.init(theta), objective)
        agree(theta, False, Shard(world=2, reduce=lambda table, count=count: count(table[:1].expand(2, -1))))
        again = int(max(0.0, info.get("backtracks", 0.0) + info.get("accepted", 0.0) - 1))  # of the line search
        size = sum(leaf.numel() for leaf in theta.values())
        rows.append(
            {"preset": name, "parameters": size, "collectives": len(sent) - again, "bytes": sum(sent) - 16 * again}
        )
    return rows


def _efficiency(preset: str, seed: int) -> dict[str, Any]:
    flags = [preset, *FLAGS[preset].split(), "--seed", str(seed)]
    with tempfile.TemporaryDirectory() as place:
        alone = [Path(place) / name for name in ("a", "b")]
        _together([[sys.executable, TRAIN, *flags, "--run-dir", str(run_dir)] for run_dir in alone])
        shared = Path(place) / "shared"
        _together([[*TORCHRUN, "--standalone", "--nproc-per-node", "2", TRAIN, *flags, "--run-dir", str(shared)]])
        one = statistics.mean(map(_seconds, alone))
        both = _seconds(shared)
    return {"preset": preset, "seed": seed, "independent": one, "two_ranks": both, "efficiency": one / (2 * both)}


def _delays() -> list[dict[str, Any]]:
    rows = []
    still = 0.0
    for count in (2, 4, 8):
        for delay in (0.0, 1.0, 10.0):
            seconds, collectives = spread(count, delay, SMALL.split())
            still = seconds if delay == 0 else still
            row = {"hosts": count, "delay_ms": delay, "seconds": seconds, "collectives": collectives}
            row["model"] = still + network_seconds(count, delay, collectives)
            rows.append(row | {"delays_each": (seconds - still) / (collectives * delay / 1000) if delay else None})
    return rows


def network_seconds(count: int, delay: float, collectives: float, size: int = 0) -> float:
    """Model the seconds that the network adds to an iteration.

    gloo's all-reduce is a ring, which waits 2 (N - 1) times for a message. The model has 2 N, because TCP waits for an
    acknowledgement of the first large message. Every rank sends 2 (N - 1) / N times the bytes that are reduced, at a
    gigabit a second.

    Args:
        count: ranks N, each on a host of its own.
        delay: one way between two hosts, in milliseconds.
        collectives: all-reduces.
        size: bytes of all of them.
    """
    return collectives * 2 * count * delay / 1000 + 2 * (count - 1) / count * size * 8e-9


def _model(traffic: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for count in (8, 64, 512):
        for delay in (0.05, 1.0, 10.0):
            seconds = network_seconds(count, delay, traffic["collectives"], traffic["bytes"])
            rows.append({"ranks": count, "delay_ms": delay, "network_seconds": seconds})
    return rows


def spread(count: int, delay: float, flags: Sequence[str], run_dir: Path | None = None) -> tuple[float, float]:
    """Train on `count` hosts, one rank each, `delay` milliseconds apart; seconds and all-reduces of a meta-iteration.

    Raises:
        ValueError: hosts cannot be made on this machine, or training failed.
    """
    with ExitStack() as stack:
        place = run_dir or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        stack.enter_context(hosts(count, delay))
        train = ["--nproc-per-node", "1", "--master-addr", ADDRESS.format(1), TRAIN, *flags, "--run-dir", str(place)]
        _together([[*on(rank), *TORCHRUN, f"--nnodes={count}", f"--node-rank={rank}", *train] for rank in range(count)])
        return _seconds(place), statistics.median(collectives(row) for row in _metrics(place))


def on(host: int) -> list[str]:
    """The first words of a command that runs on a host."""
    name = HOST.format(host)
    return ["ip", "netns", "exec", name, "env", f"GLOO_SOCKET_IFNAME={name}"]


@contextmanager
def hosts(count: int, delay: float) -> Iterator[None]:
    """Make network namespaces, each with a tunnel to a relay that passes every packet on after `delay` milliseconds."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise ValueError("hosts are network namespaces: that needs root, and the command ip")
    tunnels = []
    stop = threading.Event()
    relay = threading.Thread(target=_relay, args=(tunnels, delay / 1000, stop), daemon=True)
    try:
        for rank in range(count):
            host = HOST.format(rank)
            inside = f"ip netns exec {HOST.format(rank)}"
            tunnels.append(os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK))
            fcntl.ioctl(tunnels[-1], TUNSETIFF, struct.pack("16sH", host.encode(), IFF_TUN | IFF_NO_PI))
            _run(
                f"ip netns add {host}",
                f"ip link set {host} netns {host}",
                f"{inside} ip address add {ADDRESS.format(rank + 1)}/24 dev {host}",
                f"{inside} ip link set {host} up",
                f"{inside} ip link set lo up",
            )
        relay.start()
        yield
    finally:
        stop.set()
        if relay.is_alive():
            relay.join()
        for rank, tunnel in enumerate(tunnels):
            os.close(tunnel)
            subprocess.run(["ip", "netns", "delete", HOST.format(rank)], check=False, capture_output=True)


def _relay(tunnels: list[int], delay: float, stop: threading.Event) -> None:
    """Pass packets from each host's tunnel on to that of their address, in order, `delay` seconds later."""
    waiting: deque[tuple[float, int, bytes]] = deque()
    while not stop.is_set():
        pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.1
        for tunnel in select.select(tunnels, [], [], pause)[0]:
            packet = os.read(tunnel, 65536)
            target = packet[19] - 1  # the last byte of an IPv4 packet's destination
            if packet[0] >> 4 == 4 and 0 <= target < len(tunnels):
                waiting.append((time.monotonic() + delay, tunnels[target], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, tunnel, packet = waiting.popleft()
            os.write(tunnel, packet)


def _run(*commands: str) -> None:
    for words in commands:
        done = subprocess.run(words.split(), check=False, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"{words} failed: {done.stderr.strip()}")


def _together(commands: Sequence[Sequence[str]]) -> None:
    """Run processes at the same time, each with one thread, until all have ended."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(words, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for words in commands
    ]
    errors = [child.communicate()[1] for child in children]
    for child, words in zip(children, errors, strict=True):
        if child.returncode:
            raise ValueError(f"a run failed: {words.strip()[-500:]}")


def _metrics(run_dir: Path) -> list[dict[str, float]]:
    """The metrics of all iterations but the first, which also allocates, if there are more."""
    rows = [row for row in read_metrics(run_dir / METRICS) if "time/iteration" in row]
    return rows[1:] or rows


def _seconds(run_dir: Path) -> float:
    """Median seconds of a meta-iteration."""
    return statistics.median(row["time/iteration"] for row in _metrics(run_dir))


def collectives(row: dict[str, float]) -> float:
    """The all-reduces of an iteration with TRPO and Gauss-Newton products."""
    # One each for metrics, gradient and fingerprint, then those of the products and of the line search's losses.
    products = row.get("outer/cg_iterations", 0.0)
    tries = row.get("outer/backtracks", 0.0)
    return 3 + products + tries + row.get("outer/accepted", 0.0)
