"""Tasks of one's own from a file: read, refused, scored outside the range of training, and marked."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import TOY, refused, run

from metarl.envs.tasks import Sign, Uniform
from metarl.experiments.commands.task_files import read_tasks
from metarl.experiments.figures.evaluated_runs import read_run

pytestmark = pytest.mark.usefixtures("undrawn")
GOALS = Uniform(("x [m]", "y [m]"), (-0.5, -0.5), (0.5, 0.5))
MASS = Uniform(("mass [kg]",), (1.0,), (2.0,), positive=True)


def written(path: Path, content: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, content)
    else:
        path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "distribution", "rows"),
    [
        ("a.csv", "0.1,0.2\n3,4\n", GOALS, [[0.1, 0.2], [3, 4]]),
        ("a.csv", "x,y\n0.1,0.2\n", GOALS, [[0.1, 0.2]]),
        ("a.csv", "step,task_0,task_1,score\n0,1,2,9\n0,5,6,9\n1,1,2,8\n", GOALS, [[1, 2], [5, 6]]),
        ("a.csv", "y [m],X\n0.1,0.2\n", GOALS, [[0.2, 0.1]]),
        ("a.csv", ",x,y,words\n0,0.1,0.2,near\n", GOALS, [[0.1, 0.2]]),
        ("a.csv", "\ufeff0.1,0.2\n3,4\n", GOALS, [[0.1, 0.2], [3, 4]]),
        ("a.csv", "# far away, goals\n -.1 , +0.2\n", GOALS, [[-0.1, 0.2]]),
        ("a.csv", "1.5\n3\n", MASS, [[1.5], [3]]),
        ("a.json", "[[0.1, 0.2]]", GOALS, [[0.1, 0.2]]),
        ("a.json", "\ufeff[1.5, 7]", MASS, [[1.5], [7]]),
        ("a.npy", np.array([[1, 2]]), GOALS, [[1, 2]]),
        ("a.npy", np.array([1.5, 2.5]), MASS, [[1.5], [2.5]]),
    ],
)
def test_rows_are_read(name: str, content: Any, distribution: Any, rows: Any, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_tasks(written(tmp_path / name, content), distribution), rows)


@pytest.mark.parametrize(
    ("name", "content", "distribution", "words"),
    [
        ("a.txt", "1", MASS, r"must end in \.csv, \.npy, \.json; got .*a\.txt"),
        ("a.csv", "1,2,3\n", GOALS, r"must hold rows of 2 numbers \(x \[m\], y \[m\]\), at least one; got \(1, 3\)"),
        ("a.csv", "x,y\n", GOALS, "at least one; got"),
        ("a.csv", "x,y\n1,far\n", GOALS, "must hold rows of 2 numbers .*: could not convert string to float: 'far'"),
        ("a.csv", "x [cm],y [cm]\n1,2\n", GOALS, r"its columns must be named x \[m\], y \[m\]; they are x \[cm\], y"),
        ("a.csv", "y,z\n1,2\n", GOALS, "its columns must be named x .*; they are y, z"),
        ("a.csv", "x,y,x\n1,2,3\n", GOALS, "its columns must be named x .*; they are x, y, x"),
        ("a.csv", "0,x,y\n0,1,2\n0,1\n", GOALS, "could not convert string to float: 'x'"),
        ("a.csv", "place,x,y\n0,1,2\n0,1\n", GOALS, "a row has 2 numbers: 0,1"),
        ("a.csv", "0.1;0.2\n0.3;0.4\n", GOALS, "could not convert string to float: '0.1;0.2'"),
        ("a.csv", "0.1\t0.2\n", GOALS, "could not convert string to float"),
        ("a.csv", "0.1,O.2\n0.3,0.4\n", GOALS, "could not convert string to float: 'O.2'"),
        ("a.csv", "0,1;0,2\n0,3;0,4\n", GOALS, "could not convert string to float: '1;0'"),
        ("a.json", "[[1, 2], [3]]", GOALS, "must hold rows of 2 numbers"),
        ("a.json", "{", GOALS, "must hold rows of 2 numbers"),
        ("a.npy", np.array([[None, 1]], object), GOALS, "must hold rows of 2 numbers .*allow_pickle"),
        ("a.csv", "1\n-2\n", MASS, r"tasks must be positive numbers \(mass \[kg\]\); row 1 is \[-2.0\]"),
        ("a.csv", "1\n0.5\n", Sign("direction"), r"tasks must be 1 or -1 \(direction\); row 1 is \[0.5\]"),
    ],
)
def test_what_is_no_file_of_tasks(name: str, content: Any, distribution: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        read_tasks(written(tmp_path / name, content), distribution)


def test_tasks_outside_the_range_are_scored_and_marked(trained: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "far.csv", "0.1,0.2\n3,4\n0.3,0.3\n")
    result = run("evaluate", trained, "--task-file", file)
    assert result.returncode == 0, result.stderr
    place = trained / "tasks-far"
    with (place / "evaluation.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["in_distribution"] for row in rows[:3]] == ["1", "0", "1"]
    assert [float(row["task_0"]) for row in rows[:3]] == [0.1, 3.0, 0.3]
    near, far = (float(row["average_return"]) for row in rows[:2])
    assert far < 5 * near < 0
    document = json.loads((place / "evaluation.json").read_text())
    assert (document["split"], document["tasks"]) == ("file", 3)
    words = " ".join(result.stdout.split())
    assert "2 tasks of the training distribution" in words
    assert "1 tasks outside the training distribution" in words
    (place / "config.json").write_bytes((trained / "config.json").read_bytes())
    with pytest.raises(ValueError, match="was evaluated on file tasks: figures are of test tasks"):
        read_run(place)


def test_what_means_nothing_beside_it(trained: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "near.csv", "0.1,0.2\n")
    refused(run("evaluate", trained, "--task-file", file, "--tasks", "3"), "--tasks means nothing beside --task-file")
    refused(run("evaluate", trained, "--task-file", file, "--validation"), "--validation means nothing beside")
    refused(run("evaluate", trained, "--task-file", tmp_path / "none.csv"), "none.csv")
    assert run("train", "sinusoid", "--iterations", "0", "--run-dir", tmp_path / "sine").returncode == 0
    refused(run("evaluate", tmp_path / "sine", "--task-file", file), "--task-file means nothing for sinusoid")


def test_an_environment_may_say_where_its_distribution_ends(tmp_path: Path) -> None:
    environment = ["--environment", "mistaken:Bounded-v0"]
    place = tmp_path / "run"
    assert run("train", "custom", *environment, *TOY, "--iterations", "0", "--run-dir", place).returncode == 0
    file = written(tmp_path / "g.json", "[9.8, 40]")
    assert run("evaluate", place, "--task-file", file).returncode == 0
    with (place / "tasks-g" / "evaluation.csv").open() as table:
        assert [row["in_distribution"] for row in csv.DictReader(table)][:2] == ["1", "0"]
