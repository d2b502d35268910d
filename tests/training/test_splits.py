"""Training, validation and test tasks are three draws: of streams of their own, and of splits of their own."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_from_config import changed, make_problem
from every_option import CLASSIFICATION, REINFORCEMENT, small_of, write_images

from metarl.experiments.presets.published import evaluation_tasks
from metarl.randomness import Purpose, numpy_generator
from metarl.rl.environments import ENVIRONMENTS
from metarl.supervised.datasets import DATASETS, glyphs, omniglot
from metarl.training.evaluation import held_out_tasks, validation_tasks

SPLIT_OF = {
    Purpose.TRAINING_TASKS: "train",
    Purpose.VALIDATION_TASKS: "validation",
    Purpose.EVALUATION_TASKS: "test",
}
COUNT = 30


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images")
    write_images(place)
    return place


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS.names if ":" not in name])
def test_tasks_of_an_environment(name: str) -> None:
    config = changed(REINFORCEMENT, environment=name, evaluation_tasks=COUNT, validation_tasks=COUNT, seed=5)
    problem, tasks = make_problem(config), ENVIRONMENTS.find(name)().tasks
    drawn = {purpose: problem.sample_tasks(5, purpose, count=COUNT) for purpose in SPLIT_OF}
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not np.array_equal(one, other)
    for purpose, rows in drawn.items():
        np.testing.assert_array_equal(rows, tasks.sample(numpy_generator(5, purpose), COUNT))
    np.testing.assert_array_equal(held_out_tasks(problem, config), drawn[Purpose.EVALUATION_TASKS])
    np.testing.assert_array_equal(evaluation_tasks(config, problem), drawn[Purpose.EVALUATION_TASKS])
    np.testing.assert_array_equal(validation_tasks(problem, config), drawn[Purpose.VALIDATION_TASKS])


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("name", [name for name in DATASETS.names if ":" not in name])
def test_tasks_of_a_dataset(name: str, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    monkeypatch.setattr(omniglot, "ARCHIVES", {"all": ("", 9)})
    monkeypatch.setattr(omniglot, "SPLIT_SIZES", (3, 3, 3))
    monkeypatch.setattr(glyphs, "CLASSES", {"train": 4, "validation": 4, "test": 4})
    counts: dict[str, Any] = {"evaluation_tasks": COUNT, "validation_tasks": COUNT, "seed": 5}
    config = changed(CLASSIFICATION, dataset=name, **counts, **small_of(name))
    problem = make_problem(config)
    drawn = {purpose: problem.sample_tasks(5, purpose, count=COUNT) for purpose in SPLIT_OF}
    for one, other in itertools.combinations(drawn.values(), 2):
        assert not np.array_equal(one, other)
        if config.problem.score == "accuracy":  # two classes, and how each of them is turned
            assert not set(one[:, :2].flatten()) & set(other[:, :2].flatten())
    for purpose, rows in drawn.items():
        again = problem.distribution.sample_tasks(numpy_generator(5, purpose), COUNT, SPLIT_OF[purpose])
        np.testing.assert_array_equal(rows, again)
    np.testing.assert_array_equal(held_out_tasks(problem, config), drawn[Purpose.EVALUATION_TASKS])
    np.testing.assert_array_equal(validation_tasks(problem, config), drawn[Purpose.VALIDATION_TASKS])
