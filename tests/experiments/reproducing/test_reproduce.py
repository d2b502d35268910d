"""reproduce.py: what it runs parses, what it makes lies where it says, and it goes on where it stopped."""

import contextlib
import csv
import dataclasses
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from scripts import ROOT, TOY, refused, run

from metarl.agent import load_agent
from metarl.engine.rules.sgd import SGD
from metarl.experiments import reproduce
from metarl.experiments.catalogue.experiment import Experiment, Protocol, Training
from metarl.experiments.catalogue.studies import STUDIES
from metarl.experiments.catalogue.study_design import Factor, one_at_a_time
from metarl.experiments.figures import run_figures
from metarl.experiments.presets.training_arguments import parse
from metarl.experiments.reproducing.stored_runs import ExperimentRun, Place, thinned
from metarl.reading import read_object
from metarl.training.callbacks.csv import read_metrics
from metarl.training.run_directory import read_config

pytestmark = pytest.mark.usefixtures("undrawn")
FLAGS = " ".join(TOY)
PUBLISHED = {"config.json", "metrics.csv", "best.pt", "evaluation.json"}  # of a finished run
REFUSES = """
import sys

print("a warning", file=sys.stderr)
print("error: no", sys.argv[1])
sys.exit(2)
"""
ONE, OTHER = (
    Training("maml-seed1", "navigation", FLAGS),
    Training("random-seed1", "navigation", f"{FLAGS} --method random"),
)


@pytest.mark.parametrize("name", sorted(reproduce.EXPERIMENTS))
def test_every_run_is_a_command_and_every_figure_has_its_runs(name: str) -> None:
    experiment = reproduce.EXPERIMENTS[name]
    names = [one.name for one in experiment.runs]
    assert len(set(names)) == len(names)
    of_one_seed = [one for one in experiment.runs if re.fullmatch(r".*-seed1|(?!.*-seed\d).*", one.name)]
    if experiment.comparison:
        of_one_seed = of_one_seed[:1]  # test_method_comparisons.py parses the methods' own flags
    iterations = [parse(one.arguments).config.iterations for one in of_one_seed]
    assert parse(of_one_seed[0].quick().arguments).config.iterations == -(-iterations[0] // 10)
    used = [*sum(experiment.figures.values(), ()), *sum((one.runs for one in experiment.protocols), ())]
    assert {*used, *(run_name for run_name, _ in experiment.films.values()), *experiment.policies} <= set(names)
    seen = set(sum(experiment.figures.values(), ())) | {one.after for one in experiment.runs if one.after}
    if experiment.study:
        seen = {cell.name for cell in experiment.study.cells}
    if compared := experiment.comparison:
        seen = {compared.run(method, seed) for method in compared.methods for seed in compared.seeds}
    assert seen == set(names)  # nothing is trained that nobody sees
    for place, one in enumerate(experiment.runs):
        assert not one.after or one.after in names[:place]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """An experiment of two small runs, in a folder of its own; its scripts run in this process and are recorded."""
    toy = Experiment(
        (ONE, OTHER),
        {"figure": (ONE.name, OTHER.name)},
        (Protocol("one step", (ONE.name,), "--gradient-steps 1"),),
        policies=(ONE.name,),
    )
    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", toy)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_figures, "draw", lambda *_: Figure((1, 1)))  # nobody looks at it here
    scripts: list[tuple[str, ...]] = []

    def script(self: reproduce.Workers, log: Path, name: str, *arguments: object) -> None:
        result = run(name, *map(str, arguments))
        assert result.returncode == 0, result.stderr
        scripts.append((name, str(arguments[0])))

    monkeypatch.setattr(reproduce.Workers, "script", script)
    return scripts


def test_an_experiment_from_nothing_and_again(toy: list[tuple[str, ...]], tmp_path: Path) -> None:
    done = run("reproduce", "toy")
    assert done.returncode == 0, done.stderr
    assert "toy: 2 runs, 0 finished before, 0 begun" in done.stdout
    results = tmp_path / "experiments" / "results" / "toy"
    assert {path.name for path in results.iterdir()} == {
        ONE.name, OTHER.name, "figure.png", "figure.csv", "protocols.csv"
    }  # fmt: skip
    assert {path.name for path in (results / ONE.name).iterdir()} == PUBLISHED
    assert {path.name for path in (results / OTHER.name).iterdir()} == {"config.json", "evaluation.json"}
    methods = [row["method"] for row in csv.DictReader((results / "figure.csv").read_text().splitlines())]
    assert methods == ["maml"] * 3 + ["random"] * 3
    protocols = list(csv.DictReader((results / "protocols.csv").read_text().splitlines()))
    assert [(row["protocol"], row["gradient_steps"]) for row in protocols] == [("one step", "0"), ("one step", "1")]
    first = (results / "figure.csv").read_bytes()
    evaluations = toy.count(("evaluate", str(Path("runs") / "toy" / ONE.name)))
    assert run("reproduce", "toy").returncode == 0
    assert (results / "figure.csv").read_bytes() == first
    again = toy.count(("evaluate", str(Path("runs") / "toy" / ONE.name))) - evaluations
    assert again == 1  # under the other protocol: the run's own evaluation is there


def test_a_run_starts_from_the_policy_of_the_run_that_it_follows(
    toy: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Training("floor-seed1", "navigation", f"{FLAGS} --iterations 1 --max-kl 1e-12", after=ONE.name)
    figure = {"first": (ONE.name,), "second": (follower.name,)}
    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", Experiment((ONE, follower), figure, policies=(ONE.name,)))
    assert run("reproduce", "toy").returncode == 0
    runs = tmp_path / "runs" / "toy"
    first = load_agent(runs / ONE.name).theta
    second = load_agent(runs / follower.name).theta
    for name in first:  # a step with so small a KL divergence changes nothing that one sees
        torch.testing.assert_close(second[name], first[name], atol=1e-4, rtol=0)

    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", Experiment((follower, ONE), figure))
    shutil.rmtree(tmp_path / "runs")
    words = r"toy/floor-seed1 starts from runs/toy/maml-seed1, which is not finished or has no best.pt: run it first"
    assert words in run("reproduce", "toy").stderr


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_waits_for_the_run_that_it_follows(tmp_path: Path, fails: bool) -> None:
    """With as many jobs as runs it began beside it, and ended all of them."""
    place = Place(tmp_path, tmp_path)
    trainings = (ONE, Training("next-seed1", "navigation", after=ONE.name))
    ended = []

    def make(job: ExperimentRun) -> None:
        if job.source is None:
            time.sleep(0.05)
        ended.append(job.training.name)
        if fails:
            raise ValueError(f"no {job.name}")

    tasks = reproduce.in_order(make, [ExperimentRun("toy", training, place) for training in trainings])
    expected = pytest.raises(ValueError, match=f"no toy/{ONE.name}") if fails else contextlib.nullcontext()
    with expected, reproduce.Workers(2) as workers:
        workers.all(tasks)
    assert ended == [ONE.name, "next-seed1"]


@pytest.mark.parametrize("flags", [[], ["--go-on"]])
def test_what_is_finished_is_not_made_again_where_that_is_wanted(
    flags: list[str], toy: list[tuple[str, ...]], tmp_path: Path
) -> None:
    assert run("reproduce", "toy").returncode == 0
    shutil.rmtree(tmp_path / "runs")
    toy.clear()
    assert run("reproduce", "toy", *flags).returncode == 0
    assert bool(toy) == (not flags)


def test_results_of_other_settings_are_not_taken_for_finished(
    toy: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    experiment = reproduce.EXPERIMENTS["toy"]
    assert run("reproduce", "toy").returncode == 0
    shutil.rmtree(tmp_path / "runs")
    changed = ONE._replace(flags=f"{ONE.flags} --inner-step-size 0.3")
    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", dataclasses.replace(experiment, runs=(changed, OTHER)))
    done = run("reproduce", "toy", "--go-on")
    assert done.returncode == 0, done.stderr
    words = f"toy/{ONE.name}: from nothing, for {Path('experiments', 'results', 'toy', ONE.name)} has other settings: "
    assert words in done.stdout.replace("\n", " ")
    assert read_config(tmp_path / "experiments" / "results" / "toy" / ONE.name).rule == SGD(inner_step_size=0.3)


def test_for_a_figure_policies_that_are_kept_are_evaluated_again_and_others_trained_anew(
    toy: list[tuple[str, ...]], tmp_path: Path
) -> None:
    assert run("reproduce", "toy").returncode == 0
    results = tmp_path / "experiments" / "results" / "toy"
    before = {path: path.read_bytes() for path in results.rglob("*.*") if path.suffix != ".png"}
    shutil.rmtree(tmp_path / "runs")
    (results / "figure.png").unlink()
    for anew in (True, False):  # the second time all are in runs/
        toy.clear()
        done = run("reproduce", "toy", "--go-on")
        assert done.returncode == 0
        assert (f"toy/{OTHER.name}: from nothing" in done.stdout) == anew
        assert f"toy/{ONE.name}: from nothing" not in done.stdout
        (results / "figure.png").unlink()
        assert toy.count(("train", ONE.preset)) == 1  # the other's
        assert {path: path.read_bytes() for path in results.rglob("*.*")} == before


def test_an_unfinished_run_is_kept_gone_on_with_and_dropped(
    toy: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, kept = reproduce.Workers.script, tmp_path / "experiments" / "results" / "toy" / "unfinished" / ONE.name

    def first_iteration(self: reproduce.Workers, log: Path, name: str, *arguments: object) -> None:
        script(self, log, name, *arguments, "--iterations", "1")
        raise ValueError("killed")

    monkeypatch.setattr(reproduce.Workers, "script", first_iteration)
    with pytest.raises(ValueError, match="killed"):
        run("reproduce", "toy")
    assert {path.name for path in kept.iterdir()} == {"config.json", "metrics.csv", "checkpoint.pt", "best.pt"}
    monkeypatch.setattr(reproduce.Workers, "script", script)
    shutil.rmtree(tmp_path / "runs")
    done = run("reproduce", "toy", "--go-on")
    assert done.returncode == 0, done.stderr
    assert "toy: 2 runs, 0 finished before, 1 begun" in done.stdout
    assert f"toy/{ONE.name}: from nothing" not in done.stdout
    assert f"toy/{OTHER.name}: from nothing" in done.stdout
    assert not kept.parent.exists()
    rows = read_metrics(tmp_path / "runs" / "toy" / ONE.name / "metrics.csv")
    assert [row["iteration"] for row in rows] == [0, 1]
    published = kept.parents[1] / ONE.name
    assert {path.name for path in published.iterdir()} == PUBLISHED
    short = read_metrics(published / "metrics.csv")
    left_out = {"time/sample", "time/adapt", "time/outer", "time/env_steps_per_s"}
    assert set(rows[1]) - set(short[1]) == left_out
    assert short[1] == {n: pytest.approx(value, rel=5e-3) for n, value in rows[1].items() if n not in left_out}
    whole = (tmp_path / "runs" / "toy" / ONE.name / "metrics.csv").stat().st_size
    assert (published / "metrics.csv").stat().st_size < 0.6 * whole


def test_what_is_kept_of_a_long_learning_curve() -> None:
    rows = [{"iteration": float(i), "outer/nonfinite": 0.0, "time/adapt": 1.0} for i in range(700)]
    rows[100]["validation/loss_step0"] = 0.5
    rows[102]["outer/nonfinite"] = 1.0  # a refused step
    kept = thinned(rows)
    assert [row["iteration"] for row in kept[:4]] == [11, 23, 35, 47]
    assert kept[-1] == {"iteration": 699, "outer/nonfinite": 0}
    assert {"iteration": 100, "outer/nonfinite": 0, "validation/loss_step0": 0.5} in kept
    assert {"iteration": 102, "outer/nonfinite": 1} in kept
    assert len(kept) == 58 + 1 + 2
    assert [row["iteration"] for row in thinned(rows[:60])] == [*range(60)]


def test_the_checkpoints_that_tables_need_are_published(tmp_path: Path) -> None:
    protocols = (Protocol("last", (ONE.name,), "--checkpoint last"),)
    one = ExperimentRun("toy", ONE, Place(tmp_path / "runs", tmp_path / "results"))
    one.directory.mkdir(parents=True)
    for file in ("config.json", "checkpoint.pt", "checkpoint.previous.pt", "best.pt", "evaluation.csv"):
        (one.directory / file).touch()
    (one.directory / "evaluation.json").write_text(
        '{"checkpoint": "best", "seed": 1, "steps": [{"loss": {"mean": 0.12345678901, "low": null}, "names": ["a"]}]}'
    )
    small = PUBLISHED - {"metrics.csv"}
    for experiment, files in (
        (Experiment((ONE,), {}, protocols, policies=(ONE.name,)), small | {"checkpoint.pt"}),
        (Experiment((ONE,), {}, policies=(ONE.name,)), small),
        (Experiment((ONE,), {}, protocols), small - {"best.pt"}),
    ):
        one.publish(experiment)
        assert {path.name for path in one.published.iterdir()} == files
    assert read_object(one.published / "evaluation.json") == {
        "checkpoint": "best",
        "seed": 1,
        "steps": [{"loss": {"mean": 0.123457, "low": None}, "names": ["a"]}],
    }


def test_the_results_are_small_and_have_the_policies_that_experiments_name() -> None:
    results = ROOT / "experiments" / "results"
    for name, experiment in reproduce.EXPERIMENTS.items():
        made = [training.name for training in experiment.runs if (results / name / training.name).is_dir()]
        kept = {path.parent.name for path in (results / name).glob("*/*.pt")}
        assert kept & set(made) == set(experiment.policies) & set(made), name
    whole = [path for path in results.rglob("*") if path.is_file() and "unfinished" not in path.parts]
    assert sum(path.stat().st_size for path in whole) < 5e6
    for path in results.rglob("config.json"):
        words = str(read_object(path).get("command", "")).split()  # old runs noted none
        assert not [word for word in words if Path(word).is_absolute()], path  # of the machine that it was made on


def test_stored_curves_are_of_runs_that_experiments_name() -> None:
    # Curves of other flags than the present ones are not read: after a change of an experiment its page would be empty.
    for name, experiment in reproduce.EXPERIMENTS.items():
        stored = ROOT / "experiments" / "results" / name / "runs.csv"
        if experiment.analysed_by is None or not stored.is_file():
            continue
        flags = {training.name: training.flags for training in experiment.runs}
        rows = list(csv.DictReader(stored.read_text().splitlines()))
        assert rows and [row for row in rows if flags.get(row["run"]) != row["flags"]] == [], name


def test_a_study_is_made_analysed_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: list[tuple[str, ...]], unpainted: Callable[[], None]
) -> None:
    factor = Factor("discount", {"0.9": {"discount": "0.9"}, "0.99": {"discount": "0.99"}})
    design = one_at_a_time((factor,), seeds=(1, 2))
    toy_flags = dict(zip((name.removeprefix("--") for name in TOY[::2]), TOY[1::2], strict=True))
    runs = tuple(Training(cell.name, "navigation", design.flags(cell, toy_flags)) for cell in design.cells)
    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", Experiment(runs, study=design))
    monkeypatch.setitem(STUDIES, "toy", Experiment(runs, study=design))
    assert run("reproduce", "toy").returncode == 0
    results = tmp_path / "experiments" / "results" / "toy"
    made = {"curves.csv", "runs.csv", "effects.csv", "curves.png", "effects.png"}
    assert {path.name for path in results.iterdir()} == made  # no run is kept
    (row,) = csv.DictReader((results / "effects.csv").read_text().splitlines())
    ends = {row["run"]: float(row["end"]) for row in csv.DictReader((results / "runs.csv").read_text().splitlines())}
    difference = ends["discount-0.99-seed1"] - ends["base-seed1"] + ends["discount-0.99-seed2"] - ends["base-seed2"]
    assert (row["term"], row["seeds"]) == ("discount 0.99", "2")
    assert float(row["end"]) == pytest.approx(difference / 2, abs=0.01)
    assert float(row["end_low"]) < float(row["end"]) < float(row["end_high"])
    before = {path.name: path.read_bytes() for path in results.glob("*.csv")}
    shutil.rmtree(tmp_path / "runs")
    toy.clear()
    unpainted()
    done = run("reproduce", "toy", "--go-on")
    assert "toy: 4 runs, 4 finished before, 0 begun" in done.stdout
    assert toy == [("study", "toy")]
    assert {path.name: path.read_bytes() for path in results.glob("*.csv")} == before


def test_quick_leaves_the_results_alone(toy: list[tuple[str, ...]], tmp_path: Path) -> None:
    assert run("reproduce", "toy", "--quick").returncode == 0
    assert not (tmp_path / "experiments").exists()
    assert (tmp_path / "runs" / "quick" / "toy" / "results" / "figure.csv").is_file()
    rows = (tmp_path / "runs" / "quick" / "toy" / ONE.name / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2  # a tenth of two iterations, rounded up


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("chess", ("unknown experiment 'chess'", "navigation-paper", "or all")),
        ("", ("name an experiment",)),
        ("ant-dir --jobs 0", ("--jobs must be at least 1; got 0",)),
    ],
)
def test_mistakes(arguments: str, words: tuple[str, ...]) -> None:
    refused(run("reproduce", *arguments.split()), *words)


def test_a_script_that_fails_says_what_it_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "run.log"
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "train.py").write_text(REFUSES)
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    message = r"train.py chess failed \(2; .*run.log\): error: no chess$"
    with pytest.raises(ValueError, match=message), reproduce.Workers(2) as workers:
        workers.all([lambda: workers.script(log, "train", "chess")])
    assert log.read_text() == "a warning\nerror: no chess\n"
