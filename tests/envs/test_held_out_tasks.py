"""An environment with held-out tasks: training, validation and test draw from its splits."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from built_from_config import changed, meta_rl
from gymnasium.spaces import Box

from metarl.envs import LoopVectorEnv
from metarl.experiments.presets.configuration import preset_config
from metarl.randomness import Purpose
from metarl.rl.drawing_tasks import draw_tasks
from metarl.rl.environments import ENVIRONMENTS
from metarl.training.evaluation import validation_tasks

FIRST = {"train": 0.0, "validation": 10.0, "test": 20.0}


class Held(gymnasium.Env):
    """Tasks of three splits that don't overlap."""

    observation_space = Box(-np.inf, np.inf, (1,))
    action_space = Box(-1.0, 1.0, (1,))
    task = 0.0

    def sample_tasks(self, rng: np.random.Generator, n: int, split: str = "train") -> np.ndarray:
        return FIRST[split] + rng.uniform(size=(n, 1))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.task = float((options or {}).get("task", [0.0])[0])
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), float(-abs(action[0] - self.task)), False, False, {}


class HeldVector(LoopVectorEnv):
    """The same as a vector environment of one's own."""

    def __init__(self, num_envs: int) -> None:
        super().__init__(Held, num_envs)


@pytest.mark.parametrize("name", ["Held", "HeldVector"])
def test_training_validation_and_test_draw_from_their_splits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    environment: Any = ENVIRONMENTS.find(f"{Path(__file__).stem}:{name}")()
    for split in ("train", "validation", "test"):
        rows = environment.tasks.sample(np.random.default_rng(0), 5, split)
        np.testing.assert_array_equal(np.floor(rows), np.full((5, 1), FIRST[split]))
    config = changed(preset_config("custom", "maml", {"environment": f"{Path(__file__).stem}:{name}"}), horizon=3)
    problem = meta_rl(config)
    drawn = [
        problem.sample_tasks(1, Purpose.TRAINING_TASKS, 0, count=3),
        validation_tasks(problem, config)[:3],
        problem.sample_tasks(1, Purpose.EVALUATION_TASKS, count=3),
    ]
    np.testing.assert_array_equal(np.floor(drawn), np.repeat([0.0, 10.0, 20.0], 3).reshape(3, 3, 1))


def test_an_environment_without_splits_is_not_told_of_one() -> None:
    def sample(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.uniform(size=(n, 2))

    rows = draw_tasks(sample, np.random.default_rng(0), 4, "test")
    np.testing.assert_array_equal(rows, np.random.default_rng(0).uniform(size=(4, 2)))
