"""Ranks that share a meta-batch: most with threads for ranks, whose sums meet at a barrier; then torchrun itself."""

import functools
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from bowl import Bowl, roll
from built_from_config import make_outer, make_problem
from scripts import ROOT, TOY, refused, run
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from torch.utils._pytree import tree_flatten

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, ravel
from metarl.experiments.presets.configuration import preset_config
from metarl.problem import Metrics
from metarl.shard import ALONE, Shard
from metarl.training import loop
from metarl.training.callbacks.csv import read_metrics
from metarl.training.checkpoint import load
from metarl.training.config import Config
from metarl.training.distributed import agree, broadcast, connected, meet, one_at_first
from metarl.training.interruption import StoppedError, Wish
from metarl.training.tree import with_options

SIZES: dict[str, Any] = {"tasks": 7, "episodes": 4, "horizon": 20, "hidden_sizes": (8, 8)}
SMALL: dict[str, Any] = {"outer": "trpo", **SIZES, "cg_damping": 1.0}
CONFIGS: dict[str, Config] = {
    "navigation": with_options(preset_config("navigation"), SMALL),
    "authors": with_options(preset_config("navigation-paper"), SMALL),
    "half-cheetah": with_options(preset_config("cheetah-dir"), SMALL),
    "minibatches": with_options(preset_config("cheetah-dir"), {**SIZES, "epochs": 2}),
    "oracle": with_options(preset_config("cheetah-vel", "oracle"), SMALL),
    "sinusoid": with_options(preset_config("sinusoid"), {"tasks": 7, "compile": False}),
}


def in_ranks(world: int, work: Callable[[Shard], Any]) -> list[Any]:
    """What every rank's work returns. A reduction adds in the order of the ranks, and gives all the same bits."""
    barrier, parts = threading.Barrier(world, timeout=60), {}

    def rank(index: int) -> Any:
        def reduce(total: Tensor) -> Tensor:
            parts[index] = total.clone()
            barrier.wait()
            result = torch.stack([parts[other] for other in range(world)]).sum(0)
            barrier.wait()
            return result

        try:
            return work(Shard(index, world, reduce))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(world) as pool:
        return list(pool.map(rank, range(world)))


def iterate(config: Config, shard: Shard, iterations: int) -> tuple[Params, list[MetaObjective], list[Metrics]]:
    problem, outer = make_problem(config, shard), make_outer(config)
    theta = problem.initial_parameters(config.seed)
    state, objectives, metrics = outer.init(theta), [], []
    for iteration in range(iterations):
        objective, measured = problem.collect(theta, iteration)
        theta, state, _ = outer.step(theta, state, objective)
        objectives.append(objective)
        metrics.append(measured)
    return theta, objectives, metrics


@functools.cache
def alone(name: str, iterations: int) -> tuple[Params, list[MetaObjective], list[Metrics]]:
    return iterate(CONFIGS[name], ALONE, iterations)


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("name", CONFIGS)
def test_ranks_see_the_same_data_and_take_the_same_step(name: str, world: int) -> None:
    """To rounding: whether a task's matrix products have the same bits among fewer tasks is up to the processor."""
    config = CONFIGS[name]
    expected, (whole,), (measured,) = alone(name, 1)
    ranks = in_ranks(world, lambda shard: iterate(config, shard, 1))
    for part in ("support", "query"):
        shares = [tree_flatten(getattr(objectives[0], part))[0] for _, objectives, _ in ranks]
        joined = [torch.cat(leaves) for leaves in zip(*shares, strict=True)]
        for ours, leaf in zip(joined, tree_flatten(getattr(whole, part))[0], strict=True):
            torch.testing.assert_close(ours, leaf, rtol=1e-4, atol=1e-4)
    for theta, _, metrics in ranks:
        assert torch.equal(ravel(theta), ravel(ranks[0][0]))
        assert (ravel(theta) - ravel(expected)).norm() <= 1e-6 * ravel(expected).norm()
        assert (ravel(theta) - ravel(whole.theta_old)).norm() > 1e-4 * ravel(expected).norm()  # it moved
        for metric, value in measured.items():
            if not metric.startswith("time/"):
                assert metrics[0][metric] == pytest.approx(value, rel=1e-5), metric


@pytest.mark.parametrize("name", ["navigation", "sinusoid"])
def test_after_five_iterations_ranks_still_agree_with_one(name: str) -> None:
    expected = ravel(alone(name, 5)[0])
    for theta, *_ in in_ranks(3, lambda shard: iterate(CONFIGS[name], shard, 5)):
        assert (ravel(theta) - expected).norm() <= 1e-5 * expected.norm()


def test_shards_are_all_tasks_once() -> None:
    for world in range(1, 6):
        for count in range(world, 12):
            shares = [Shard(rank, world).tasks(count) for rank in range(world)]
            assert [task for share in shares for task in share] == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(ValueError, match="3 ranks need at least as many tasks in a meta-batch; got 2"):
        Shard(0, 3).tasks(2)


def test_what_the_first_rank_has_everybody_gets() -> None:
    data = bytes(range(256)) * 3
    assert in_ranks(3, lambda shard: broadcast(data if shard.rank == 0 else b"", shard)) == [data] * 3
    assert broadcast(data, ALONE) == data


def test_a_wish_of_one_rank_is_everybodys() -> None:
    theta = {"x": torch.ones(3)}
    assert in_ranks(3, lambda shard: agree(theta, shard.rank == 1, shard)) == [True] * 3
    assert in_ranks(3, lambda shard: agree(theta, False, shard)) == [False] * 3


def test_ranks_stop_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal reaches one rank: all of them stop after the same iteration, with what it then has."""

    after_one = property(lambda wish: signal.SIGTERM if wish.done >= 1 else None)
    asked = type("Asked", (Wish,), {"signal": after_one})

    @contextmanager
    def wishes(announce: Callable[[str], None], grace: float) -> Iterator[Wish]:
        yield asked() if grace == 1 else Wish()  # the second rank's

    monkeypatch.setattr(loop, "wishes", wishes)

    def one(shard: Shard) -> int:
        with pytest.raises(StoppedError) as stopped:
            loop.train(Bowl(), roll(), iterations=9, grace=shard.rank, shard=shard)
        return int(re.findall(r"SIGTERM after (\d+) iterations", str(stopped.value))[0])

    assert in_ranks(3, one) == [2, 2, 2]


def test_ranks_that_differ_in_a_bit_are_stopped() -> None:
    def one(shard: Shard) -> str:
        theta = {"x": torch.ones(3)}
        if shard.rank == 2:
            theta["x"][1] = torch.nextafter(theta["x"][1], torch.tensor(2.0))
        with pytest.raises(ValueError, match="rank 2 has other parameters than rank 0") as caught:
            agree(theta, False, shard)
        return str(caught.value)

    assert len(in_ranks(3, one)) == 3


def test_ranks_meet_where_nobody_has_been(tmp_path: Path) -> None:
    """torchrun's store keeps what ranks wrote that died, also of one that had only asked."""
    stores = [next(rendezvous(f"file://{tmp_path}/store?rank={rank}&world_size=3"))[0] for rank in range(3)]
    for attempt in range(3):
        stores[2].set("rank 2", "a dead rank's question")
        parts = in_ranks(3, lambda shard: meet(stores[shard.rank], shard.rank, shard.world))
        assert not any(part.check(["address"]) for part in parts)
        parts[attempt].set("address", str(attempt))
        assert [part.get("address") for part in parts] == [str(attempt).encode()] * 3


def test_one_rank_of_a_machine_comes_first() -> None:
    done: list[int] = []

    def one(shard: Shard) -> list[int]:
        with one_at_first(shard._replace(local_rank=shard.rank % 2)):
            found = list(done)
            done.append(shard.rank)
        return found

    found = in_ranks(4, one)
    assert {0, 2} <= set(found[1]) and {0, 2} <= set(found[3])
    assert sorted(done) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("device", "rank", "words"),
    [("cuda", "2", "rank 2 of this machine has no GPU, of 1"), ("cuda:0", "0", "--device must be cuda; got cuda:0")],
)
def test_ranks_without_a_gpu_of_their_own_say_so(
    device: str, rank: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORLD_SIZE", "3"), ("LOCAL_RANK", rank), ("RANK", rank)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=words), connected(device):
        pass


def torchrun(*arguments: object, ranks: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command += [str(ROOT / "experiments" / "train.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


THREADS_AT_EXIT = """
import atexit
from pathlib import Path

from metarl.training.callbacks.callback import Callback


class Threads(Callback):
    def start(self, training, state):
        atexit.register(self.show)

    def show(self):
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
        print("at exit:", ", ".join(names), flush=True)
"""


def test_torchrun_is_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes end where one does, and what they leave is resumed by one."""
    one = run("train", "navigation", *TOY, "--run-dir", tmp_path / "one")
    assert one.returncode == 0, one.stderr
    (tmp_path / "threads_at_exit.py").write_text(THREADS_AT_EXIT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    further = ["--evaluate-every", "1", "--render-every", "2", "--callback", "threads_at_exit:Threads"]
    two = torchrun("navigation", *TOY, *further, "--run-dir", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    # A thread of torch's that outlives its process group aborts a process now and then, while Python ends.
    assert "at exit: python" in two.stdout
    assert "gloo" not in two.stdout
    assert two.stderr.count("2 iterations done") == 1
    thetas = [ravel(load(tmp_path / name / "checkpoint.pt").theta) for name in ("one", "two")]
    torch.testing.assert_close(*thetas, rtol=1e-5, atol=1e-7)
    assert [row["iteration"] for row in read_metrics(tmp_path / "two" / "metrics.csv")] == [0, 1, 2]
    for name in ("one", "two"):
        longer = run("train", "navigation", *TOY, "--iterations", "3", "--resume", "--run-dir", tmp_path / name)
        assert longer.returncode == 0, longer.stderr
    thetas = [ravel(load(tmp_path / name / "checkpoint.pt").theta) for name in ("one", "two")]
    torch.testing.assert_close(*thetas, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("said", ["two", "-1", "1.0"])
def test_variables_of_a_launcher_that_are_no_numbers(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", said)
    right = f"variable WORLD_SIZE must be a whole number, at least 0; got '{said}'"
    with pytest.raises(ValueError, match=right), connected("cpu"):
        pass
    for nothing in ("", " ", "1", "0"):
        monkeypatch.setenv("WORLD_SIZE", nothing)
        with connected("cpu") as shard:
            assert shard is ALONE


def test_ranks_that_cannot_meet_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    refused(run("train", "navigation", *TOY, "--run-dir", tmp_path / "run"), "ranks do not find each other", "torchrun")
    assert not (tmp_path / "run").exists()
