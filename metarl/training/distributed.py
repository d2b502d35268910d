"""Several processes, one run: torchrun's ranks share the tasks of every meta-batch.

What travels are sums: the meta-gradient, curvature products, the line search's loss and divergence, metrics. Rollouts
and examples stay where they were made. All that ranks tell each other goes through `Shard.reduce`.
"""

import importlib
import os
import secrets
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from metarl.engine.params import Params
from metarl.shard import ALONE, Shard

MEETING = timedelta(minutes=10)  # for all ranks to have come


@contextmanager
def connected(device: str) -> Iterator[Shard]:
    """This process's shard: as torchrun's environment says (RANK, WORLD_SIZE), or all.

    Args:
        device: on which this rank computes; several on one machine each take the GPU of their number.

    Raises:
        ValueError: an environment that names ranks, but not where they meet; fewer GPUs than ranks.
        ConnectionError: another rank was lost.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if device.startswith("cuda"):
        _take_gpu(device, local_rank)
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    # This module's default arguments hold the process group that there is when it is imported, as it is by the first
    # gradient. Imported now, they hold none. A held group outlives its destruction, and its threads abort a process
    # that ends.
    importlib.import_module("torch.distributed.nn.functional")
    try:
        store, rank, world = next(rendezvous("env://", timeout=MEETING))
        dist.init_process_group(backend, store=meet(store, rank, world), rank=rank, world_size=world)
    except (RuntimeError, ValueError) as error:  # a rendezvous that fails or times out
        raise ValueError(f"the ranks do not find each other: {error}; were they started by torchrun?") from error
    _stop_with_parent()
    yield Shard(rank, world, _sum, local_rank)
    dist.destroy_process_group()  # not after an error: it might wait for a rank that is lost


def _stop_with_parent(every: float = 1.0) -> None:
    """Have this process receive SIGTERM once its parent has ended: a launcher that is killed stops nobody."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch the launcher", daemon=True).start()


def _take_gpu(device: str, number: int) -> None:
    """Have `cuda` mean the GPU of this rank's number on its machine. Raises ValueError if there is none."""
    count = torch.cuda.device_count()
    if device != "cuda":
        raise ValueError(f"each rank takes a GPU of its own: --device must be cuda; got {device}")
    if number >= count:
        raise ValueError(f"rank {number} of this machine has no GPU, of {count}: start one rank a GPU, or --device cpu")
    torch.cuda.set_device(number)


@contextmanager
def one_at_first(shard: Shard) -> Iterator[None]:
    """One rank of each machine runs the block before the others: it downloads and decodes what they then find."""
    if shard.local_rank > 0:
        shard.reduce(torch.zeros(1, dtype=torch.float64))  # until the first ones come by
    yield
    if shard.local_rank == 0:
        shard.reduce(torch.zeros(1, dtype=torch.float64))


def meet(store: Store, rank: int, world: int) -> Store:
    """A part of the store that is new to these processes, named by rank 0.

    torchrun's store outlives a restart: the keys of ranks that died are still there, and torch would connect to their
    addresses (pytorch#135712). So each rank asks under a name of its own, and rank 0 answers until all have heard it.

    Raises:
        RuntimeError: not all ranks have come in time.
    """
    own = secrets.token_hex(16)
    start = time.monotonic()
    if rank > 0:
        store.set(f"rank {rank}", own)
        first = store.get(own).decode()
        store.set(f"{first} {rank}", "heard")
        return PrefixStore(first, store)
    missing = set(range(1, world))
    while missing:
        for other in missing:
            store.set(store.get(f"rank {other}").decode(), own)  # perhaps a dead one's question; then it asks again
        missing = {other for other in missing if not store.check([f"{own} {other}"])}
        if time.monotonic() - start > MEETING.total_seconds():
            raise RuntimeError(f"ranks {sorted(missing)} have not come")
        time.sleep(0.05)
    return PrefixStore(own, store)


def _sum(total: Tensor) -> Tensor:
    """The sum over ranks, in place, the same bits on all of them."""
    try:
        dist.all_reduce(total)
    except RuntimeError as error:
        raise ConnectionError(f"another rank is lost ({str(error).splitlines()[0][:120]})") from error
    return total


def broadcast(data: bytes, shard: Shard) -> bytes:
    """What rank 0 has, on every rank: a sum to which the others add nothing."""
    first = shard.rank == 0
    length = shard.reduce(torch.tensor(len(data) if first else 0, dtype=torch.float64))
    numbers = torch.zeros(int(length), dtype=torch.float64)
    if first:
        numbers += torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return bytes(shard.reduce(numbers).to(torch.uint8).numpy())


def agree(theta: Params, stop: bool, shard: Shard) -> bool:
    """Whether any rank wants to stop, once all have shown that they have the same parameters.

    Raises:
        ValueError: they have not.
    """
    if shard.world == 1:
        return stop
    digest = 0
    for leaf in theta.values():
        digest = zlib.crc32(leaf.detach().cpu().contiguous().numpy().tobytes(), digest)
    table = torch.zeros(shard.world, 2, dtype=torch.float64)
    table[shard.rank] = torch.tensor([digest, stop])
    table = shard.reduce(table)
    if strange := [rank for rank in range(shard.world) if table[rank, 0] != table[0, 0]]:
        raise ValueError(
            f"rank {strange[0]} has other parameters than rank 0: do all machines have the same processors, and the "
            "same versions of metarl and torch?"
        )
    return bool(table[:, 1].any())
