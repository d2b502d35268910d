"""A stand-in for Meta-World: the interface that the adapter uses, with an arm of one joint on a line."""

import functools
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from metarl.envs.adapters import metaworld

GOALS = 4  # of each class and split
EPISODE = 500
WELD, OTHER = 1, 0  # kinds of constraints
COMPILED = np.arange(12.0)  # a row of `eq_data` in a new model
OWN = -np.arange(11.0)  # what the base class writes to welds


class Task(NamedTuple):
    env_name: str
    data: bytes


class SawyerMocapBase:
    """Its method is one for rows of 11 numbers."""

    width = 12

    def __init__(self) -> None:
        rows = np.tile(COMPILED[: self.width], (2, 1))
        self.model = SimpleNamespace(nmocap=1, eq_type=np.array([OTHER, WELD]), eq_data=rows)

    def reset_mocap_welds(self) -> None:
        for i, kind in enumerate(self.model.eq_type):
            if kind == WELD:
                self.model.eq_data[i] = OWN


class Arm(SawyerMocapBase, gymnasium.Env):
    """A hand at 0 that moves by its first action to a goal, which it does not see."""

    name: ClassVar[str]
    living: ClassVar[list["Arm"]] = []

    def __init__(self, render_mode: str | None = None, camera_name: str | None = None) -> None:
        super().__init__()
        self.reset_mocap_welds()
        self.observation_space = Box(-np.inf, np.inf, (3,))
        self.action_space = Box(-1.0, 1.0, (4,), np.float32)
        self.render_mode = render_mode
        self.camera_name = camera_name
        self.goal: float | None = None
        self.living.append(self)

    def set_task(self, task: Task) -> None:
        assert task.env_name == self.name
        self.goal = float(task.data)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        assert (seed, options) == (None, None)  # Meta-World takes neither
        self.hand, self.time = 0.0, 0
        return np.zeros(3), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert self.goal is not None
        assert self.time < EPISODE, "Meta-World refuses more"
        self.hand += float(action[0])
        self.time += 1
        distance = abs(self.hand - self.goal)
        info = {"success": float(distance < 0.5), "obj_to_target": distance}
        return np.full(3, self.hand), np.float64(-distance), False, self.time == EPISODE, info

    def render(self) -> Any:
        return None if self.render_mode is None else np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    def close(self) -> None:
        self.living.remove(self)


def arms(*names: str) -> dict[str, type[Arm]]:
    return {name: type(name, (Arm,), {"name": name}) for name in names}


def tasks(classes: dict[str, type[Arm]], first: int) -> list[Task]:
    return [Task(name, str(first + i).encode()) for name in classes for i in range(GOALS)]


class ML1:
    ENV_NAMES = ("reach-v3", "push-v3")

    def __init__(self, env_name: str, seed: int) -> None:
        self.train_classes = self.test_classes = arms(env_name)
        self.train_tasks = tasks(self.train_classes, 100 * seed)
        self.test_tasks = tasks(self.test_classes, 100 * seed + 10)


class ML10:
    def __init__(self, seed: int) -> None:
        self.train_classes, self.test_classes = arms("reach-v3", "push-v3"), arms("door-v3")
        self.train_tasks, self.test_tasks = tasks(self.train_classes, 1), tasks(self.test_classes, 50 + seed)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in in the place of Meta-World, which may be installed or not."""
    package: Any = ModuleType("metaworld")
    package.ML1, package.ML10 = ML1, ML10
    module: Any = ModuleType("metaworld.sawyer_xyz_env")
    module.SawyerMocapBase = SawyerMocapBase
    monkeypatch.setitem(sys.modules, "metaworld", package)
    monkeypatch.setitem(sys.modules, "metaworld.sawyer_xyz_env", module)
    monkeypatch.setattr(SawyerMocapBase, "reset_mocap_welds", SawyerMocapBase.reset_mocap_welds)
    monkeypatch.setattr(Arm, "living", [])
    # With a cache of its own: what is drawn here is nobody else's.
    monkeypatch.setattr(metaworld, "drawn", functools.cache(metaworld.drawn.__wrapped__))
