import csv
import json
from pathlib import Path

import numpy as np
import pytest
from built_from_config import make_problem
from toy import TOY

from metarl.experiments.presets.published import published_returns, published_tasks
from metarl.problem import Evaluation
from metarl.training.evaluation import evaluate, held_out_tasks
from metarl.training.evaluation_files import write_evaluation


def test_files(tmp_path: Path) -> None:
    problem = make_problem(TOY)
    tasks = held_out_tasks(problem, TOY)
    result = evaluate(problem, problem.initial_parameters(1), TOY, tasks)
    steps = write_evaluation(tmp_path, TOY, result, tasks, iteration=4)
    with (tmp_path / "evaluation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "experiment", "method", "seed", "gradient_steps", "task", "task_0", "task_1",
        "average_return", "achieved", "success", "reward/distance", "broken", "adaptation_env_steps",
    ]  # fmt: skip
    assert len(rows) == 3 * 3
    assert (rows[0]["experiment"], rows[0]["method"], rows[0]["seed"]) == ("navigation", "maml", "1")
    for row in rows:
        step, task = int(row["gradient_steps"]), int(row["task"])
        assert float(row["average_return"]) == result.scores["average_return"][step, task]
        assert [float(row["task_0"]), float(row["task_1"])] == tasks[task].tolist()
    document = json.loads((tmp_path / "evaluation.json").read_text())
    assert document["steps"] == steps
    assert (document["checkpoint"], document["iteration"], document["tasks"], document["episodes"]) == ("best", 4, 3, 2)
    for step, summary in enumerate(document["steps"]):
        assert summary["average_return"]["mean"] == pytest.approx(result.scores["average_return"][step].mean())
    with np.load(tmp_path / "evaluation.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["tasks"], tasks)
        assert arrays["observations"].shape == (3, 3, 6, 1, 2)


def test_a_failed_write_is_an_error(tmp_path: Path) -> None:
    scores = {"average_return": np.zeros((1, 2))}
    with pytest.raises(OSError, match="missing"):
        write_evaluation(tmp_path / "missing", TOY, Evaluation(scores, {}), np.zeros((2, 2)), iteration=0)


def test_published_tasks_and_returns() -> None:
    tasks = published_tasks("navigation")
    assert tasks.shape == (40, 2)
    np.testing.assert_allclose(tasks[0], [-0.082978, 0.220324], atol=1e-6)  # numpy's RandomState(1)
    means = published_returns("navigation", "maml").mean(1)
    np.testing.assert_allclose(means[:4], [-40.4, -11.7, -3.3, -3.2], atol=0.06)
    assert published_returns("navigation", "oracle").shape == (1, 40)
    assert published_returns("chess", "maml").shape == (0, 40)
    with pytest.raises(ValueError, match="no published test tasks for 'chess'"):
        published_tasks("chess")
