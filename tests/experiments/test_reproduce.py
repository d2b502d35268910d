"""reproduce.py: what it runs parses, what it makes lies where it says, and it goes on where it stopped."""

import csv
import shutil
from pathlib import Path

import pytest
from scripts import TOY, in_a_process, refused, run

from metarl.experiments import reproduce
from metarl.experiments.paper import EXPERIMENTS, Experiment, Protocol, Training
from metarl.experiments.train import parse

FLAGS = " ".join(TOY)
ONE, OTHER = (
    Training("maml-seed1", "navigation", FLAGS),
    Training("random-seed1", "navigation", f"{FLAGS} --method random"),
)


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_every_run_is_a_command_and_every_figure_has_its_runs(name: str) -> None:
    experiment = EXPERIMENTS[name]
    names = [one.name for one in experiment.runs]
    assert len(set(names)) == len(names)
    for one in experiment.runs:
        iterations = parse([one.preset, *one.flags.split()]).config.iterations
        quick = parse([one.preset, *one.flags.split(), "--iterations", str(-(-iterations // 10))]).config.iterations
        assert quick == -(-iterations // 10)
    used = [*sum(experiment.figures.values(), ()), *sum((one.runs for one in experiment.protocols), ())]
    assert {*used, *(run_name for run_name, _ in experiment.films.values())} <= set(names)
    assert set(sum(experiment.figures.values(), ())) == set(names)  # nothing is trained that nobody sees


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """An experiment of two small runs, in a folder of its own; its scripts run in this process and are recorded."""
    toy = Experiment(
        (ONE, OTHER), {"figure": (ONE.name, OTHER.name)}, (Protocol("one step", (ONE.name,), "--gradient-steps 1"),)
    )
    monkeypatch.setitem(reproduce.EXPERIMENTS, "toy", toy)
    monkeypatch.chdir(tmp_path)
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
    results = tmp_path / "experiments" / "results" / "toy"
    kept = {"config.json", "metrics.csv", "evaluation.json", "evaluation.csv", "checkpoint.pt", "best.pt"}
    assert {path.name for path in (results / ONE.name).iterdir()} == kept
    assert (results / "figure.png").is_file()
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


@pytest.mark.parametrize("flags", [[], ["--go-on"]])
def test_kept_runs_go_on_where_that_is_wanted(flags: list[str], toy: list[tuple[str, ...]], tmp_path: Path) -> None:
    assert run("reproduce", "toy").returncode == 0
    events = [path for path in (tmp_path / "runs" / "toy" / ONE.name).iterdir() if "events" in path.name]
    assert events  # which are not kept
    shutil.rmtree(tmp_path / "runs")
    assert run("reproduce", "toy", *flags).returncode == 0
    made = {path.name.split(".")[0] for path in (tmp_path / "runs" / "toy" / ONE.name).iterdir()}
    assert ("events" in made) == (not flags)  # of a finished run nothing is left to be trained, or logged


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
        ("ants --jobs 0", ("--jobs must be at least 1; got 0",)),
    ],
)
def test_mistakes(arguments: str, words: tuple[str, ...]) -> None:
    refused(run("reproduce", *arguments.split()), *words)


def test_a_script_that_fails_says_what_it_said(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    message = r"train.py chess failed \(2; .*run.log\): error: .*chess"
    with pytest.raises(ValueError, match=message), reproduce.Workers(2) as workers:
        workers.all([lambda: workers.script(log, "train", "chess")])


def test_it_is_a_script() -> None:
    refused(in_a_process("reproduce", "chess"), "unknown experiment 'chess'")
