"""The benchmarks at toy size: that they run, and that what does not depend on size or speed is right."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import json
import math
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from io import StringIO
from multiprocessing.context import BaseContext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mujoco
import mujoco.rollout
import numpy as np
import pytest
from built_from_config import make_env, make_outer, make_problem
from rich.console import Console
from scripts import refused, run

from metarl.engine.params import ravel
from metarl.experiments import benchmark
from metarl.experiments.benchmarks import cost_growth, learning, straightforward
from metarl.experiments.benchmarks.busy_machine import others
from metarl.experiments.benchmarks.estimator_figure import draw_errors
from metarl.experiments.benchmarks.iteration import EXACT
from metarl.experiments.benchmarks.ranks import collectives
from metarl.experiments.benchmarks.report import relative_cost, show
from metarl.experiments.benchmarks.sampling import Loops
from metarl.experiments.presets.configuration import preset_config
from metarl.randomness import Purpose
from metarl.training.tree import flat, with_options


class InThisProcess(Executor):
    """Stands in for a pool of one new process, which costs seconds: what is submitted is pickled, then called here."""

    def __init__(self, max_workers: int, mp_context: BaseContext) -> None:
        assert (max_workers, mp_context.get_start_method()) == (1, "spawn")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        fn, args, kwargs = pickle.loads(pickle.dumps((fn, args, kwargs)))
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp("benchmark") / "new" / "figures.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost_growth, "ProcessPoolExecutor", InThisProcess)
        benchmark.command(["--quick", "--output", str(output), "--figure", str(output.with_suffix(".png"))])
    assert output.with_suffix(".png").stat().st_size > 1000
    return json.loads(output.read_text())


def test_help_says_what_every_benchmark_measures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        benchmark.command(["--help"])
    shown = capsys.readouterr().out
    assert "    hvp         accuracy of Hessian-vector products" in shown
    assert max(map(len, shown.splitlines())) <= 80
    words = " ".join(shown.split())
    assert all(f"{name} {known.meaning}" in words for name, known in benchmark.BENCHMARKS.items())
    refused(run("benchmark", "hvps"), "unknown benchmark 'hvps': choose among hvp, step, ")


def test_every_figure_is_finite(document: dict[str, Any]) -> None:
    assert set(benchmark.MEASURED) <= set(document)
    assert document["quick"]
    tables = [
        document["hvp"],
        document["step"],
        *document["sampler"].values(),
        *document["growth"].values(),
        document["iteration"],
        document["supervised"],
        document["workers"],
        document["busy"],
        *document["ranks"].values(),
        *document["estimators"].values(),
    ]
    figures = [value for rows in tables for row in rows for value in row.values() if isinstance(value, float)]
    assert len(figures) > 100
    assert all(math.isfinite(value) for value in figures)


def test_products_that_must_be_exact_are(document: dict[str, Any]) -> None:
    kinds = [row for row in document["hvp"] if row["kind"] in ("gauss_newton", "exact")]
    assert len(kinds) == 4
    assert all(row["gain"] == pytest.approx(1, abs=0.1) for row in kinds if row["activation"] == "tanh")
    assert all(row[f"error_{name}"] < 1e-4 for row in kinds for name in ("gradient", "step", "random"))


def test_what_travels_is_a_gradient_products_and_a_few_numbers(document: dict[str, Any]) -> None:
    """And as many all-reduces as the row of an iteration in metrics.csv tells."""
    rows = {row["preset"]: row for row in document["ranks"]["traffic"]}
    for name, products in (("navigation", 5), ("cheetah-dir", 5), ("cheetah-dir-paper", 11)):
        vectors = 8 * (1 + products) * rows[name]["parameters"]
        assert vectors < rows[name]["bytes"] < vectors + 400
    told = {"outer/cg_iterations": 5.0, "outer/backtracks": 0.0, "outer/accepted": 1.0}
    assert rows["navigation"]["collectives"] == rows["cheetah-dir"]["collectives"] == collectives(told)


def test_estimators_are_biased_where_theory_says_so(document: dict[str, Any]) -> None:
    biases = {row["inner_loss"]: row["hessian_bias"] for row in document["estimators"]["inner"]}
    assert biases["dice"] < 1e-9 < 0.1 < biases["likelihood_ratio"] < biases["log_prob"]
    biases = {row["outer_loss"]: row["bias"] for row in document["estimators"]["outer"]}
    assert biases["e_maml"] < 1e-9 < 0.05 < biases["surrogate"]


def test_errors_of_hessians_fall_to_their_bias() -> None:
    row = {"process": "2x2x2", "baseline": "none", "inner_loss": "dice", "hessian_bias": 0.0, "hessian_deviation": 4.0}
    biased = row | {"inner_loss": "likelihood_ratio", "hessian_bias": 0.5, "hessian_deviation": 1.0}
    (panel,) = draw_errors([biased, row]).axes
    exact, other = (line for line in panel.get_lines() if str(line.get_label())[0] != "_")
    assert [line.get_label() for line in (exact, other)] == ["dice", "likelihood ratio"]
    assert [float(np.asarray(exact.get_ydata())[i]) for i in (0, -1)] == pytest.approx([4.0, 0.04])
    assert [float(np.asarray(other.get_ydata())[i]) for i in (0, -1)] == pytest.approx([1.25**0.5, 0.2501**0.5])


def test_a_figure_of_what_is_not_measured_is_refused(tmp_path: Path) -> None:
    refused(run("benchmark", "hvp", "--figure", tmp_path / "a.png"), "shows what estimators measures")


def test_figures_to_keep_are_a_file_for_each_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {
        name: benchmark.Benchmark(lambda console, quick: [{"figure": 1.5}], "a figure") for name in ("busy", "peers")
    }
    monkeypatch.setattr(benchmark, "BENCHMARKS", measured)
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    benchmark.command(["busy", "peers", "--keep"])
    for name in measured:
        kept = json.loads((tmp_path / "results" / f"benchmark_{name}.json").read_text())
        assert kept[name] == [{"figure": 1.5}]
        assert set(kept) == {"torch", "mujoco", "gymnasium", "cores", "quick", name}
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    refused(run("benchmark", "busy", "--keep", "--quick"), "toy sizes mean nothing")


def test_rates_are_of_everything(document: dict[str, Any]) -> None:
    rates = document["sampler"]
    assert {(row["robot"], row["dynamics"]) for row in rates["share"]} == {
        (robot, dynamics) for robot in ("half-cheetah", "ant") for dynamics in ("gymnasium", "paper")
    }
    assert {row["kind"] for row in rates["gymnasium"]} == {"sync", "async"}


def test_the_stages_of_an_iteration_are_all_timed_and_make_up_the_total(document: dict[str, Any]) -> None:
    for row in document["iteration"]:
        stages = [row[name] for name in ("sample", "adapt", "gradient", "curvature", "search")]
        assert min(stages) > 0
        assert 0.5 * row["total"] < sum(stages) < 1.1 * row["total"]  # medians, each of its own


def test_closed_and_open_loop_run_the_same_episodes() -> None:
    """Half-cheetahs never fall: the open loop ends where the sampler did."""
    loops = Loops("metarl/HalfCheetahDir-v0", "gymnasium", tasks=1, horizon=4)
    loops.closed(0)
    states, control = loops.replayed()
    data = mujoco.MjData(loops.plain)
    trajectories, _ = mujoco.rollout.rollout(loops.plain, data, states, control)
    expected = loops.physics.of(loops.env.states, "qpos")
    np.testing.assert_allclose(np.asarray(trajectories)[:, -1, 1 : 1 + loops.plain.nq], expected, atol=1e-9)


def test_relative_cost_is_a_ratio_of_calls() -> None:
    calls: list[str] = []
    assert relative_cost(lambda: calls.append("call"), lambda: calls.append("reference"), repeats=3) > 0
    assert calls == ["reference", "call"] * 4


def test_the_straightforward_implementation_takes_the_same_step() -> None:
    """Else its time says nothing: the same rollouts, and TRPO with exact products on all data."""
    sizes = {"tasks": 3, "episodes": 4, "horizon": 10, "hidden_sizes": (8,), "activation": "tanh"}
    config = with_options(preset_config("navigation"), {**sizes, **EXACT})
    options = SimpleNamespace(**flat(config))
    problem = make_problem(config)
    theta = problem.initial_parameters(1)
    ours, _, info = make_outer(config).step(theta, {}, problem.collect(theta, 7)[0])
    assert info["accepted"]
    rows = problem.sample_tasks(config.seed, Purpose.TRAINING_TASKS, 7, count=3)
    tasks = straightforward.collect(options, make_env(config, 4), problem.policy, theta, rows, 7)
    theirs = straightforward.outer_step(options, problem.policy, theta, tasks)
    step, other = ravel(ours) - ravel(theta), ravel(theirs) - ravel(theta)
    # the damping lengthens one of the two full steps a little, so that one may be shortened once more than the other
    ratio = (step.norm() / other.norm()).item()
    assert min(abs(ratio / 0.8**k - 1) for k in (-1, 0, 1)) < 1e-2
    assert (step - ratio * other).norm() < 1e-2 * step.norm()


def test_others_keep_a_core_busy_until_the_block_ends() -> None:
    with others(1) as (number,):
        deadline = time.monotonic() + 60
        while not _ticks(number) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert _ticks(number) > 0
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def _ticks(number: int) -> int:
    """Processor time of a process [1/100 s], user and system."""
    fields = Path(f"/proc/{number}/stat").read_text().rsplit(")")[1].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_tables_show_every_figure_in_full_in_any_width(width: int, count: int) -> None:
    names = [f"a_figure_{i}" for i in range(12)]
    rows = [{"kind": f"gauss_newton{k}", **{name: 1000 * k + i for i, name in enumerate(names)}} for k in range(count)]
    rows[-1]["own"] = 0.123
    page = StringIO()
    show(Console(file=page, width=width), "a title", rows)
    lines = page.getvalue().splitlines()
    words = page.getvalue().split()
    assert max(map(len, lines)) <= width
    shown = [str(value) for row in rows for value in row.values() if value != 0.123]
    assert set(shown) | {"0.12", "title"} <= set(words)
    assert words.count("-") == count - 1


def test_nothing_is_shown_as_nothing_and_zero_as_zero() -> None:
    page = StringIO()
    show(Console(file=page, width=80), "", [{"none": None, "zero": 0}])
    assert page.getvalue().split()[-2:] == ["-", "0"]


@pytest.mark.parametrize("rise", [learning.MARGIN - 0.1, -2.0, math.nan])
def test_what_does_not_learn_fails(rise: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"seed": 1, "first": 3.0, "last": 3.0 + rise, "rise": rise}
    monkeypatch.setattr(learning, "rise", lambda seed: row)
    refused(run("benchmark", "learning", "--quick", "--output", tmp_path / "b.json"), "cheetah-dir does not learn")
    row["rise"] = learning.MARGIN
    assert run("benchmark", "learning", "--quick", "--output", tmp_path / "b.json").returncode == 0
