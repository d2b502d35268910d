"""Which tasks of a meta-batch are this process's, and how sums over all processes are taken."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Shard(NamedTuple):
    """Rank `rank` of `world` processes that share every meta-batch; alone it has all tasks.

    reduce(total) -> total    sums a float64 tensor over the ranks, on all of them; the identity alone
    local_rank                number of the process on its machine
    """

    rank: int = 0
    world: int = 1
    reduce: Callable[[Tensor], Tensor] = lambda total: total
    local_rank: int = 0

    def tasks(self, count: int) -> range:
        """Global indices of this rank's tasks among `count`: consecutive, as many as on other ranks, give or take one.

        Raises:
            ValueError: fewer tasks than ranks.
        """
        if count < self.world:
            raise ValueError(f"{self.world} ranks need at least as many tasks in a meta-batch; got {count}")
        return range(self.rank * count // self.world, (self.rank + 1) * count // self.world)


ALONE = Shard()
