"""A simulator of which only one instance can run in a process: a second one raises."""

import weakref
from typing import Any, ClassVar

import numpy as np
from examples.pendulum import GravityPendulum
from numpy.typing import NDArray


class Lonely(GravityPendulum):
    """A pendulum; episodes end early at random, what it reports differs, and nothing of an episode outlives it."""

    open: ClassVar["weakref.WeakSet[Lonely]"] = weakref.WeakSet()
    made: ClassVar[int] = 0

    def __init__(self, most: int = 1, **others: Any) -> None:
        super().__init__(**others)
        Lonely.open.add(self)
        Lonely.made += 1
        if len(Lonely.open) > most:
            raise RuntimeError("the simulator runs already")

    def step(self, u: Any) -> Any:
        seen, reward, *_ = super().step(u)
        return seen, reward, bool(self.np_random.random() < 0.1), False, {"achieved": seen[0], "reward/cost": reward}

    def render(self) -> NDArray[np.uint8]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return np.zeros((16, 16, 3), np.uint8)

    def close(self) -> None:
        Lonely.open.discard(self)
        super().close()
