"""Environments for worker processes: what goes wrong in them, goes wrong at a torque of their task's."""

import multiprocessing
import os
import time
from typing import Any

import numpy as np
from examples.pendulum import GravityPendulum


class Trouble(GravityPendulum):
    """Does what `how` says at the first timestep under a gravity above 14, which says which environment it is."""

    def __init__(self, how: str = "nothing", **others: Any) -> None:
        super().__init__(**others)
        self.how = how
        if how == "unmade":
            raise ValueError("no licence for this simulator")
        if how == "helped" and multiprocessing.parent_process() is not None:
            helper = multiprocessing.get_context("fork").Process(target=int)
            helper.start()
            helper.join()

    def step(self, u: Any) -> Any:
        if self.g > 14:
            self.trouble()
        seen, reward, *_ = super().step(u)
        said = {"reward/cost": reward} if self.g > 8 else {}
        return seen, reward, bool(self.g < 8 and seen[2] > 0.1), False, said

    def trouble(self) -> None:
        if self.how == "raise":
            raise ValueError("the torque is too large for this arm")
        if self.how == "die":
            os._exit(3)
        if self.how == "hang":
            time.sleep(60)
        if self.how == "misshapen":
            vars(self)["_get_obs"] = lambda: np.zeros(4)
