"""Several processes for one run: torchrun's ranks share the tasks of every meta-batch.

Ranks exchange sums alone: the meta-gradient, curvature products, the line search's loss and divergence, and metrics.
Rollouts and examples stay where they were made. Everything goes through `Shard.reduce`.
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
from metarl.operating_system import said_number
from metarl.shard import ALONE, Shard

MEETING = timedelta(minutes=10)  # limit until all ranks must have come


@contextmanager
def connected(device: str) -> Iterator[Shard]:
    """Connect to the other ranks that torchrun's variables name (RANK, WORLD_SIZE), and give this process's shard.

    Without these variables the process is alone.

    Args:
        device: where this rank computes; ranks on one machine each take the GPU of their local number.

    Raises:
        ValueError: the variables name ranks but not where these meet, or there are fewer GPUs than ranks.
        ConnectionError: another rank was lost.
    """
    if said_number("WORLD_SIZE", 1) <= 1:
        yield ALONE
        return
    local_rank = said_number("LOCAL_RANK", 0)
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
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the ranks do not find each other: {error}; were they started by torchrun?") from error
    _stop_with_parent()
    yield Shard(rank, world, _sum, local_rank)
    # Not after an error, because it might wait for a rank that is lost.
    dist.destroy_process_group()


def _stop_with_parent(every: float = 1.0) -> None:
    """Send this process SIGTERM once its parent has ended: a launcher that is killed does not stop its ranks."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="watch the launcher", daemon=True).start()


def _take_gpu(device: str, number: int) -> None:
    """Make `cuda` mean the GPU of this rank's number on its machine. Raises ValueError if there is none."""
    count = torch.cuda.device_count()
    if device != "cuda":
        raise ValueError(f"each rank takes a GPU of its own: --device must be cuda; got {device}")
    if number >= count:
        raise ValueError(f"rank {number} of this machine has no GPU, of {count}: start one rank a GPU, or --device cpu")
    torch.cuda.set_device(number)


@contextmanager
def one_at_first(shard: Shard) -> Iterator[None]:
    """Run the block on one rank of each machine before the others, which then find what it downloaded and decoded."""
    # A reduction ends when all ranks take part: the first ranks do so after the block, the others before it.
    if shard.local_rank > 0:
        shard.reduce(torch.zeros(1, dtype=torch.float64))
    yield
    if shard.local_rank == 0:
        shard.reduce(torch.zeros(1, dtype=torch.float64))


def meet(store: Store, rank: int, world: int) -> Store:
    """Agree on a part of the store that no earlier processes used, under a name that rank 0 chooses.

    torchrun's store outlives a restart: the keys of ranks that died are still there, and torch would connect to their
    addresses (pytorch#135712). So each rank asks under a random name, and rank 0 answers until all have heard it.

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
            # The question may be that of a dead process; a living one replaces it.
            store.set(store.get(f"rank {other}").decode(), own)
        missing = {other for other in missing if not store.check([f"{own} {other}"])}
        if time.monotonic() - start > MEETING.total_seconds():
            raise RuntimeError(f"ranks {sorted(missing)} have not come")
        time.sleep(0.05)
    return PrefixStore(own, store)


def _sum(total: Tensor) -> Tensor:
    """Sum a tensor over ranks, in place: all ranks get the same bits. Raises ConnectionError if a rank is lost."""
    try:
        dist.all_reduce(total)
    except RuntimeError as error:
        raise ConnectionError(f"another rank is lost ({str(error).splitlines()[0][:120]})") from error
    return total


def broadcast(data: bytes, shard: Shard) -> bytes:
    """Give rank 0's bytes to every rank."""
    # By sums, to which the other ranks add zeros.
    first = shard.rank == 0
    length = shard.reduce(torch.tensor(len(data) if first else 0, dtype=torch.float64))
    numbers = torch.zeros(int(length), dtype=torch.float64)
    if first:
        numbers += torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return bytes(shard.reduce(numbers).to(torch.uint8).numpy())


def agree(theta: Params, stop: bool, shard: Shard) -> bool:
    """Tell whether any rank wants to stop, and check that all ranks have the same parameters.

    Raises:
        ValueError: a rank has other parameters.
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
