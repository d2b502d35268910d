"""Comparisons of methods: equal timesteps, the settings of each paper, and a table and a figure of what was run."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scripts import TOY, refused, run

from metarl.experiments import reproduce
from metarl.experiments.analysis.comparison_figures import aligned, draw_score_curves
from metarl.experiments.analysis.stored_curves import (
    ScoreCurve,
    finished_score_curve,
    mean_of_last,
    read_stored_score_curves,
    settings,
    write_score_curves,
    write_table,
)
from metarl.experiments.catalogue.comparison import Comparison, Method
from metarl.experiments.catalogue.experiment import Experiment, Training
from metarl.experiments.catalogue.method_comparisons import METHODS
from metarl.experiments.compare import table_rows
from metarl.experiments.presets.training_arguments import parse
from metarl.training.tree import flat

SIZES = {"iterations", "tasks", "episodes", "horizon", "shots", "queries"}


def options(experiment: str, run_name: str) -> dict[str, object]:
    one = next(one for one in METHODS[experiment].runs if one.name == run_name)
    return flat(parse(one.arguments).config)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_all_methods_sample_as_much(name: str) -> None:
    compared = METHODS[name].comparison
    assert compared is not None
    assert "iterations" in settings(compared.shared.split())
    # In reinforcement learning every inner step samples; in supervised learning all have the same examples.
    supervised = "shots" in options(name, METHODS[name].runs[0].name)
    fixed = SIZES if supervised else SIZES | {"inner-steps"}
    for method in compared.methods:
        assert not settings(method.flags.split()).keys() & fixed


def test_methods_have_the_settings_of_their_papers() -> None:
    """Also where the preset has an outer optimiser of many small steps, whose options none of them inherits."""
    plain, first_order, promp, ppo, e_maml, dice, anil, cavia, meta_sgd = (
        options("methods-navigation", one.name) for one in METHODS["methods-navigation"].runs[:9]
    )
    wanted = {"learning_rate": 1e-3, "epochs": 5, "clip": 0.3, "kl_penalty": 5e-4, "inner_loss": "likelihood_ratio"}
    assert {option: promp[option] for option in wanted} == wanted
    assert promp.keys() - ppo.keys() == {"kl_penalty", "kl_target"}
    assert {option for option in ppo if promp[option] != ppo[option]} == {"outer"}
    for other, changed in ((first_order, "first_order"), (dice, "inner_loss"), (e_maml, "outer_loss")):
        assert {option for option in plain if plain[option] != other[option]} == {changed}
    assert (anil["rule"], meta_sgd["rule"], cavia["rule"]) == ("anil", "meta-sgd", "cavia")
    assert (cavia["context_size"], cavia["inner_step_size"]) == (5, 0.5)
    cheetah = options("methods-cheetah-dir", "cavia-seed1")
    assert (cheetah["context_size"], cheetah["inner_step_size"]) == (50, 10.0)
    for name, point in (("promp", promp), ("maml-ppo", ppo)):
        cheetah = options("methods-cheetah-dir", f"{name}-seed1")
        own = ("minibatches", "target_kl", "schedule", *wanted)
        assert [cheetah.get(option) for option in own] == [point.get(option) for option in own]


def curve(level: float, seconds: float = 0.5) -> ScoreCurve:
    amount = np.arange(1.0, 11.0)
    return ScoreCurve(amount, seconds * amount, np.zeros(10), np.full(10, level))


def test_a_course_is_read_where_the_run_is_finished(tmp_path: Path) -> None:
    one = Training("toy", "navigation", "--iterations 5 --seed 1")
    rows = ["iteration,rollout/return_step0,rollout/return_step1,env_steps,time/processor"]
    rows += [f"{i},{-i},{2 * i},{100 * (i + 1)},{9 if i == 0 else 0.5}" for i in range(5)]
    (tmp_path / "config.json").write_text('{"command": "train.py navigation --seed 1 --iterations 5 --resume"}')
    (tmp_path / "metrics.csv").write_text("\n".join(rows[:5]) + "\n")
    assert finished_score_curve(tmp_path, one) is None
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    found = finished_score_curve(tmp_path, one)
    assert found is not None
    assert found.amount.tolist() == [100, 200, 300, 400, 500]
    assert found.seconds.tolist() == [0.5, 1.0, 1.5, 2.0, 2.5]  # the first iteration's start does not count
    assert (found.start, found.end) == (-4.0, 8.0)
    with pytest.raises(ValueError, match="another run: --iterations is 5 there and 4 here"):
        finished_score_curve(tmp_path, one._replace(flags="--iterations 4 --seed 1"))


def test_a_supervised_course_is_that_of_the_validation_tasks(tmp_path: Path) -> None:
    one = Training("toy", "sinusoid", "--iterations 4 --seed 1")
    (tmp_path / "config.json").write_text('{"command": "train.py sinusoid --seed 1 --iterations 4"}')
    rows = ["iteration,train/loss_step1,validation/loss_step0,validation/loss_step1,time/processor"]
    rows += ["0,5,4,3,0.2", "1,5,,,0.2", "2,5,4,2,0.4", "3,5,,,0.2", "4,,4,1,"]
    (tmp_path / "metrics.csv").write_text("\n".join(rows) + "\n")
    found = finished_score_curve(tmp_path, one)
    assert found is not None
    assert found.amount.tolist() == [0, 2, 4]
    assert found.seconds == pytest.approx([0, 0.4, 0.8])
    assert found.after.tolist() == [3, 2, 1]


def test_the_table_has_means_over_seeds_with_students_interval() -> None:
    compared = Comparison("navigation", "", (Method("one", "One", "", ""), Method("two", "Two", "", "")), (1, 2, 3))
    levels = np.array([1.0, 2.0, 6.0])
    curves = {f"one-seed{seed}": curve(level) for seed, level in zip((1, 2, 3), levels, strict=True)}
    (row,), _ = table_rows(compared, curves)
    half = stats.t.ppf(0.975, 2) * levels.std(ddof=1) / np.sqrt(3)
    assert (row["method"], row["seeds"], float(row["before"])) == ("One", "3", 0.0)
    assert [float(row[name]) for name in ("after", "after_low", "after_high")] == pytest.approx(
        [3.0, 3.0 - half, 3.0 + half], rel=1e-3
    )
    assert float(row["seconds"]) == 5.0
    (alone,), _ = table_rows(compared, {"two-seed2": curve(4.0)})
    assert (alone["method"], alone["seeds"], "after_low" in alone) == ("Two", "1", False)


def test_seeds_are_aligned_by_what_they_sampled() -> None:
    slow = curve(0.0)._replace(amount=np.arange(1.0, 11.0) - 0.5, after=np.arange(10.0))
    points, seconds, after = aligned([slow, curve(0.0, seconds=1.5)._replace(after=np.arange(10.0))])
    assert points.tolist() == [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]
    assert after[0].tolist() == [1.0, 0.5]
    assert seconds[0] == pytest.approx((0.5 * 2 + 1.5 * 1.5) / 2)


def test_a_figure_shows_every_method_and_ends_where_they_do() -> None:
    figure = draw_score_curves(
        {"One": [curve(1.0), curve(3.0)], "Two": [curve(5.0)]}, amount="iterations", score="return"
    )
    sampled, timed, ends = figure.axes
    assert [line.get_label() for line in timed.get_lines()] == ["One (2)", "Two (1)"]
    assert [np.asarray(line.get_ydata())[-1] for line in sampled.get_lines()] == [2.0, 5.0]
    assert [label.get_text() for label in ends.get_yticklabels()] == ["One", "Two"]


def test_a_figure_has_a_colour_for_every_method_of_a_comparison_and_refuses_more() -> None:
    for experiment in METHODS.values():
        assert experiment.comparison is not None
        methods = {method.words: [curve(1.0)] for method in experiment.comparison.methods}
        sampled, *_ = draw_score_curves(methods, amount="iterations", score="return").axes
        assert len({line.get_color() for line in sampled.get_lines()}) == len(methods)
    many = {f"method {number}": [curve(1.0)] for number in range(11)}
    with pytest.raises(ValueError, match="11 methods: the figure has 10 colours"):
        draw_score_curves(many, amount="iterations", score="return")


def test_kept_courses_are_those_of_the_same_flags(tmp_path: Path) -> None:
    runs = (Training("a", "navigation", "--seed 1"), Training("b", "navigation", "--seed 2"))
    write_score_curves(tmp_path / "curves.csv", {"a": curve(1 / 3), "b": curve(2.0)})
    write_table(
        tmp_path / "runs.csv", [{"run": "a", "flags": "--seed 1"}, {"run": "b", "flags": "--seed 3"}], ("run", "flags")
    )
    kept = read_stored_score_curves(tmp_path, Experiment(runs))
    assert set(kept) == {"a"}
    assert kept["a"].end == pytest.approx(0.3333)  # four digits
    assert mean_of_last(kept["a"].amount, kept["a"].seconds) == pytest.approx(4.75)


def test_a_comparison_is_made_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpainted: Callable[[], None]
) -> None:
    method = Method("one", "One", "--first-order", "here")
    compared = Comparison("navigation", " ".join(TOY), (method,), (1, 2))
    runs = tuple(
        Training(compared.run(method, seed), "navigation", compared.flags(method, seed)) for seed in compared.seeds
    )
    toy = Experiment(runs, comparison=compared)
    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", toy)
    monkeypatch.setitem(METHODS, "toy", toy)
    monkeypatch.chdir(tmp_path)
    called: list[str] = []

    def script(self: reproduce.Workers, log: Path, name: str, *arguments: object) -> None:
        called.append(name)
        result = run(name, *map(str, arguments))
        assert result.returncode == 0, result.stderr

    monkeypatch.setattr(reproduce.Workers, "script", script)
    assert run("reproduce", "toy").returncode == 0
    results = tmp_path / "experiments" / "results" / "toy"
    assert {path.name for path in results.iterdir()} == {"curves.csv", "runs.csv", "methods.csv", "figure.png"}
    rows = list(csv.DictReader((results / "methods.csv").read_text().splitlines()))
    assert [(row["method"], row["seeds"]) for row in rows] == [("One", "2")]
    before = {path.name: path.read_bytes() for path in results.glob("*.csv")}
    shutil.rmtree(tmp_path / "runs")
    called.clear()
    unpainted()
    done = run("reproduce", "toy", "--go-on")
    assert "toy: 2 runs, 2 finished before, 0 begun" in done.stdout
    assert called == ["compare"]
    assert {path.name: path.read_bytes() for path in results.glob("*.csv")} == before


def test_mistakes(tmp_path: Path) -> None:
    refused(run("compare", "chess"), "unknown comparison 'chess'", "methods-navigation")
    refused(
        run("compare", "methods-navigation", "--runs", tmp_path, "--results", tmp_path), "no run of methods-navigation"
    )


def test_the_group_of_comparisons() -> None:
    assert reproduce.GROUPS["methods"] is METHODS
    assert set(METHODS) <= set(reproduce.EXPERIMENTS)
