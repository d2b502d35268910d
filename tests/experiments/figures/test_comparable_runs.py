"""Runs that differ in one setting, runs in progress, and tasks outside training: in one figure and one table."""

import csv
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts import refused, run

from metarl.experiments.figures.comparable_runs import by_setting, grouped, require_comparable
from metarl.experiments.figures.curve_points import points
from metarl.experiments.figures.evaluated_runs import Commands, Run, read_run
from metarl.experiments.figures.run_figures import draw
from metarl.experiments.presets.configuration import preset_config
from metarl.training.tree import with_options

pytestmark = pytest.mark.usefixtures("undrawn")
ROWS = [
    {"iteration": i, "env_steps": 100.0 * (i + 1), "time/iteration": 2.0, "outer/nonfinite": 0.0}
    | {f"rollout/return_step{step}": float(-i + step) for step in (0, 1)}
    for i in range(4)
]


def a_run(name: str, *, steps: int = 3, preset: str = "navigation", **options: Any) -> Run:
    """A run of 4 iterations, scored on 5 tasks after 0 .. `steps` - 1 gradient steps."""
    config = with_options(preset_config(preset), {"iterations": 4} | options)
    scores = np.random.default_rng(0).normal(0, 1, (steps, 5))
    protocol = config.protocol | {"inner_steps": config.inner_steps, "checkpoint": "best"}
    return Run(Path(name), config, "maml", protocol, scores, [dict(row) for row in ROWS], evaluation=Path(name))


def changed(source: Path, target: Path, values: dict[str, Any]) -> Path:
    """A copy of a run that says that it was made with other values."""
    shutil.copytree(source, target)
    document = json.loads((target / "config.json").read_text())
    for name, value in values.items():
        (document["config"]["rule"] if name in document["config"]["rule"] else document["config"])[name] = value
    (target / "config.json").write_text(json.dumps(document))
    return target


def labels(runs: list[Run], by: str) -> list[str]:
    labelled = by_setting(runs, by)
    require_comparable(labelled, by)
    return [one.label for one in labelled]


def test_the_setting_is_the_label_and_numbers_are_in_order() -> None:
    runs = [a_run(f"{size}-{seed}", inner_step_size=size, seed=seed) for size in (0.5, 0.05) for seed in (2, 1)]
    sizes = ["inner_step_size 0.05"] * 2 + ["inner_step_size 0.5"] * 2
    assert labels(runs, "inner_step_size") == labels(runs, "inner-step-size") == sizes
    lines = draw(grouped(by_setting(runs, "inner_step_size"))).axes[1].lines
    assert [line.get_label() for line in lines] == ["inner_step_size 0.05 (2 seeds)", "inner_step_size 0.5 (2 seeds)"]
    assert len({str(line.get_color()) for line in lines}) == 2
    wide, deep = a_run("wide", hidden_sizes=(64, 32)), a_run("deep", hidden_sizes=(8,))
    assert labels([wide, deep], "hidden_sizes") == ["hidden_sizes 64 32", "hidden_sizes 8"]
    many = [a_run(str(i), inner_step_size=0.1 * (i + 1)) for i in range(9)]
    colors = [line.get_color() for line in draw(grouped(by_setting(many, "inner_step_size"))).axes[1].lines]
    assert len(set(colors)) == 9


def test_a_part_brings_its_own_options_and_nothing_else() -> None:
    sgd, meta_sgd = a_run("a", rule="sgd"), a_run("b", rule="meta-sgd")
    assert labels([sgd, meta_sgd], "rule") == ["rule meta-sgd", "rule sgd"]
    with pytest.raises(ValueError, match="cannot be compared: horizon is 7 in one and 100 in the other"):
        labels([sgd, a_run("b", rule="meta-sgd", horizon=7)], "rule")
    with pytest.raises(ValueError, match=r"discount is 0.99 in one and 0.5 in the other; --by discount compares"):
        labels([sgd, a_run("b", inner_step_size=0.7, discount=0.5)], "inner_step_size")
    assert labels([sgd, a_run("b", horizon=7)], "horizon") == ["horizon 7", "horizon 100"]
    assert labels([sgd, a_run("b", inner_steps=2)], "inner_steps") == ["inner_steps 1", "inner_steps 2"]
    with pytest.raises(ValueError, match="such as inner_step_size; got inner_step_sise; did you mean inner_step_size"):
        labels([sgd], "inner_step_sise")


def test_other_methods_stand_beside_it() -> None:
    random = a_run("r")
    random = dataclasses.replace(random, config=with_options(random.config, {"method": "random"}), label="random")
    runs = [a_run("a"), a_run("b", inner_step_size=0.7), random]
    assert labels(runs, "inner_step_size") == [
        "maml, inner_step_size 0.1",
        "random, inner_step_size 0.1",
        "maml, inner_step_size 0.7",
    ]


def test_curves_over_iterations_timesteps_and_seconds() -> None:
    one = a_run("a")
    score = "rollout/return_step1"
    expected: dict[Any, list[float]] = {
        "iterations": [0, 1, 2, 3], "timesteps": [100, 200, 300, 400], "seconds": [2, 4, 6, 8]
    }  # fmt: skip
    for x, values in expected.items():
        np.testing.assert_array_equal(points(one, score, x), np.stack([values, [1, 0, -1, -2]], 1))
        axes = draw({"maml": [one]}, x).axes[0]
        np.testing.assert_array_equal(np.asarray(axes.lines[0].get_xdata()), values)
    thinned = dataclasses.replace(one, metrics=[*one.metrics[::3], {"iteration": 4.0, score: 9.0}])
    np.testing.assert_array_equal(points(thinned, score, "seconds")[:, 0], [2, 8, 8])
    untimed = dataclasses.replace(one, metrics=[{"iteration": 0.0, score: 1.0}])
    with pytest.raises(ValueError, match="--x timesteps means nothing for a: its metrics have no env_steps"):
        points(untimed, score, "timesteps")


def test_a_run_in_progress_is_drawn(evaluated: Path, tmp_path: Path) -> None:
    running = changed(evaluated, tmp_path / "a run", {"iterations": 9, "seed": 2})
    for file in running.glob("evaluation.*"):
        file.unlink()
    one = read_run(running)
    assert (one.progress, one.is_evaluated) == ((2, 9), False)
    alone = draw({"maml": [one]})
    assert [line.get_label() for line in alone.axes[0].lines][1::2] == [
        "maml, before adaptation (2 of 9)",
        "maml, after adaptation (2 of 9)",
    ]
    assert len(alone.axes) == 1
    result = run("plot", evaluated, running, "--output", tmp_path / "f.svg", "--table", tmp_path / "t.csv")
    assert result.returncode == 0, result.stderr
    assert "in progress:" in result.stdout
    assert "2 of 9 iterations, without an evaluation" in result.stdout
    assert "maml (1 seed, over tasks)" in (tmp_path / "f.svg").read_text()
    refused(
        run("plot", running, "--output", tmp_path / "f.svg", "--table", tmp_path / "none.csv"),
        "none.csv would be empty",
    )


def test_a_command_line_by_a_setting(evaluated: Path, tmp_path: Path) -> None:
    other = changed(evaluated, tmp_path / "other", {"inner_step_size": 0.3})
    figure, table = tmp_path / "f.pdf", tmp_path / "t.csv"
    refused(run("plot", evaluated, other, "--output", figure), "are both maml, seed 1")
    arguments = ["--by", "inner_step_size", "--x", "seconds", "--output", figure, "--table", table]
    result = run("plot", evaluated, other, *arguments)
    assert result.returncode == 0, result.stderr
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows[::3]] == ["inner_step_size 0.1", "inner_step_size 0.3"]
    document = figure.read_bytes()
    assert b"/FontFile2" in document  # TrueType
    assert b"/Type3" not in document
    refused(run("plot", evaluated, "--by", "colour", "--output", figure), "--by must be an option of the runs")


def test_tasks_outside_training_are_drawn_and_have_rows(evaluated: Path, tmp_path: Path) -> None:
    file = tmp_path / "far.csv"
    file.write_text("0.1,0.2\n3,4\n0.3,0.3\n-2,0\n")
    assert run("evaluate", evaluated, "--task-file", file).returncode == 0
    table = tmp_path / "t.csv"
    arguments = ["--evaluation", "tasks-far", "--output", tmp_path / "f.png", "--table", table]
    result = run("plot", evaluated, *arguments)
    assert result.returncode == 0, result.stderr
    with table.open() as opened:
        methods = [row["method"] for row in csv.DictReader(opened)]
    assert methods[::3] == ["maml", "maml, outside training"]
    one = read_run(evaluated, "tasks-far")
    axes = draw({"maml": [one]}).axes
    adaptation = axes[1].lines
    np.testing.assert_allclose(np.asarray(adaptation[1].get_ydata()), one.scores[:, [1, 3]].mean(1))
    assert (adaptation[1].get_markerfacecolor(), adaptation[0].get_linestyle()) == ("white", "-")
    scattered = axes[2].collections[-1]
    np.testing.assert_array_equal(np.asarray(scattered.get_offsets()), one.tasks)
    np.testing.assert_array_equal(np.asarray(scattered.get_array()), one.scores[-1])
    refused(run("plot", evaluated, "--evaluation", "tasks-near", "--output", tmp_path / "f.png"), "tasks-near has no")


def test_tasks_of_one_number_are_an_axis_and_commands_are_marked(tmp_path: Path) -> None:
    one = a_run("a", preset="cheetah-vel")
    tasks = np.array([[0.5], [3.0], [1.0], [2.5], [1.5]])
    inside = np.array([True, False, True, False, True])
    wanted = one.config.problem.commanded(tasks)
    assert wanted is not None
    commands = Commands(wanted, np.zeros((3, 5)), "velocity", "mean velocity")
    one = dataclasses.replace(one, tasks=tasks, inside=inside, commands=commands)
    figure = draw({"maml": [one]})
    by_task, commanded = figure.axes[2:4]
    np.testing.assert_array_equal(np.asarray(by_task.lines[1].get_xdata()), [0.5, 1.0, 1.5, 2.5, 3.0])
    np.testing.assert_array_equal(np.asarray(by_task.lines[1].get_ydata()), one.scores[-1][[0, 2, 4, 3, 1]])
    grey = by_task.collections[0].get_paths()[0].vertices
    assert 0 <= np.asarray(grey)[:, 0].min() < 0.5 < 1.5 < np.asarray(grey)[:, 0].max() <= 2
    marked = [line for line in commanded.lines if "outside" in str(line.get_label())]
    np.testing.assert_array_equal(np.asarray(marked[0].get_xdata()), [3.0, 2.5])
    with pytest.raises(ValueError, match="a and b cannot be compared: their tasks are not the same"):
        other = dataclasses.replace(one, label="random", evaluation=Path("b"), tasks=tasks + 1)
        require_comparable([one, other])
