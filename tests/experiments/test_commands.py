"""Every script as its user meets it: toy sizes, through its own `command`, and the mistakes people make."""

import csv
import io
import json
import math
import re
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console
from scripts import ROOT, TOY, as_main, refused, run

from metarl.experiments.evaluate import score_table
from metarl.experiments.figures.evaluated_runs import published_of
from metarl.experiments.plot import comparison_table
from metarl.experiments.presets.configuration import PRESETS, preset_config
from metarl.experiments.train import differences_from
from metarl.parts import HIDDEN
from metarl.training.tree import flat, leaves, with_options

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def evaluated(trained: Path) -> Path:
    """With the figure for TensorBoard."""
    result = run("evaluate", trained)
    assert result.returncode == 0, result.stderr
    assert "95 % over tasks" in result.stdout
    return trained


def test_a_run_leaves_what_it_promises(evaluated: Path) -> None:
    names = {path.name for path in evaluated.iterdir() if not path.name.startswith("events.out.tfevents")}
    assert names == {
        "config.json", "metrics.csv", "checkpoint.pt", "checkpoint.previous.pt", "best.pt",
        "evaluation.csv", "evaluation.json", "evaluation.npz", "evaluation", ".lock",
    }  # fmt: skip
    with (evaluated / "metrics.csv").open() as file:
        assert [row["iteration"] for row in csv.DictReader(file)] == ["0", "1"]


def test_evaluate_takes_its_own_sizes(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    options = "--gradient-steps 1 --tasks 2 --episodes 4 --checkpoint last --counting timesteps --step-sizes 0.2 0.1"
    result = run("evaluate", copy, *options.split())
    assert result.returncode == 0, result.stderr
    document = json.loads((copy / "evaluation.json").read_text())
    assert len(document["steps"]) == 2
    assert (document["tasks"], document["episodes"], document["checkpoint"]) == (2, 4, "last")
    assert (document["counting"], document["step_sizes"]) == ("timesteps", [0.2, 0.1])


def test_random_is_a_run_of_zero_iterations_and_plot_draws_both(evaluated: Path, tmp_path: Path) -> None:
    other = tmp_path / "random"
    assert run("train", "navigation", "--method", "random", *TOY, "--run-dir", other).returncode == 0
    assert run("evaluate", other).returncode == 0
    result = run("plot", evaluated, other, "--output", tmp_path / "new" / "figure.png", "--table", tmp_path / "t.csv")
    assert result.returncode == 0, result.stderr
    assert "refused outer steps: maml 0 of 2" in result.stdout
    with (evaluated / "evaluation.csv").open() as one, (tmp_path / "t.csv").open() as both:
        returns = [float(row["average_return"]) for row in csv.DictReader(one) if row["gradient_steps"] == "1"]
        rows = [row for row in csv.DictReader(both) if (row["method"], row["gradient_steps"]) == ("maml", "1")]
    assert float(rows[0]["mean"]) == pytest.approx(sum(returns) / len(returns))
    assert (tmp_path / "new" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert run("plot", evaluated, "--output", tmp_path / "figure.svg").returncode == 0
    refused(run("plot", evaluated, "--output", tmp_path / "figure.bmp"), "must end in .png, .svg or .pdf", "figure.bmp")


@pytest.mark.parametrize(("seeds", "head"), [(3, "interquartile"), (1, "median")])
def test_the_table_of_several_seeds_fits_80_columns(seeds: int, head: str) -> None:
    names = ("mean", "low", "high", "interquartile_mean", "iqm_low", "iqm_high", "median", "published")
    over = {"seeds": seeds, "interval_over": "seeds" if seeds > 1 else "tasks"}
    rows = [{"method": "pretrained", "gradient_steps": k, **over, **dict.fromkeys(names, -34.912)} for k in range(2)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(comparison_table(preset_config("navigation-paper"), rows))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert any(head in line for line in lines)
    interval = ["-34.9", "[-34.9,", "-34.9]"]
    second = interval if seeds > 1 else ["-34.91"]
    shown = ["pretrained", *(["3", "seeds"] if seeds > 1 else ["tasks"]), "1", *interval, *second, "-34.91"]
    assert shown in lines


def test_a_score_stands_beside_what_was_published() -> None:
    config = preset_config("navigation-paper")
    theirs = published_of(config, config.protocol, "maml")
    assert theirs[1] == pytest.approx(-11.7, abs=0.05)
    assert published_of(config, config.protocol | {"published_tasks": False}, "maml") == {}
    names = ("average_return", "achieved", "success", "adaptation_env_steps")
    numbers = {name: {"mean": -11.38, "low": -13.46, "high": -9.269} for name in names}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(score_table([{"gradient_steps": 1, **numbers}], config, theirs))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert ["1", "-11.38", "-13.46", "..", "-9.269", f"{theirs[1]:.4g}", "-11.38", "-11.38", "-11.38"] in lines
    assert any("published" in line for line in lines)


def test_resume_goes_on_and_is_quick_when_done(trained: Path) -> None:
    before = (trained / "checkpoint.pt").read_bytes()
    result = run("train", "navigation", *TOY, "--run-dir", trained, "--resume")
    assert result.returncode == 0, result.stderr
    assert (trained / "checkpoint.pt").read_bytes() == before


def test_help_shows_presets_and_the_prose_of_every_flag() -> None:
    assert "navigation-paper" in run("train", "--help").stdout
    text = " ".join(run("train", "navigation", "--help").stdout.replace("│", " ").split())
    for leaf in leaves(preset_config("navigation")):
        flag = rf"--{leaf.option.name.replace('_', '-')}\b(?!-)"
        assert bool(re.search(flag, text)) == (HIDDEN not in leaf.option.markers), leaf.option.name
    assert "Step size alpha of the inner gradient steps." in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("chess", ("chess", "navigation, navigation-paper")),
        ("navigation --warp 9", ("--warp",)),
        ("navigation --tasks 0", ("tasks must be at least 1; got 0",)),
        ("navigation --tasks many", ("--tasks must be a whole number; got 'many'",)),
        ("navigation --inner-step-size far", ("--inner-step-size must be a number; got 'far'",)),
        ("navigation --inner-step-size -0.1", ("inner_step_size must be a positive number; got -0.1",)),
        ("navigation --horizon 0", ("horizon must be at least 1; got 0",)),
        ("navigation --method alpha", ("alpha", "maml", "random")),
        ("navigation --environment metarl/Chess-v0", ("metarl/Chess-v0",)),
        ("navigation --reward sparse", ("--reward", "sparse", "squared", "distance")),
        ("navigation --environment CartPole-v1", ("CartPole-v1", "cannot be meta-trained", "sample_tasks(rng, n)")),
        ("navigation --device cuda:9", ("cuda:9",)),
    ],
)
def test_mistakes_on_the_command_line(arguments: str, words: tuple[str, ...], tmp_path: Path) -> None:
    refused(run("train", *arguments.split(), "--run-dir", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_a_directory_belongs_to_one_run(trained: Path) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    refused(run("train", "navigation", *TOY, "--run-dir", trained), "already holds a run", "--resume")
    refused(
        run("train", "navigation", *TOY, "--run-dir", trained, "--seed", "2", "--resume"), "seed is 1 there and 2 here"
    )
    assert {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()} == before


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    refused(run("train", "navigation", *TOY, "--run-dir", tmp_path / "file"), "is a file")
    refused(run("train", "navigation", *TOY, "--run-dir", tmp_path / "file" / "run"), "file")
    refused(run("train", "navigation", *TOY, "--run-dir", "/proc/metarl"), "/proc/metarl")
    assert (tmp_path / "file").read_text() == "precious"


def test_damaged_and_foreign_checkpoints(trained: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    whole = (copy / "checkpoint.pt").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not a checkpoint"):
        (copy / "checkpoint.pt").write_bytes(damaged)
        fallen_back = run("evaluate", copy, "--checkpoint", "last")
        assert fallen_back.returncode == 0
        assert "checkpoint.pt is not a readable checkpoint" in fallen_back.stderr
        assert "warning: " in fallen_back.stderr and "iteration 1, is taken" in fallen_back.stderr
        assert json.loads((copy / "evaluation.json").read_text())["iteration"] == 1
    (copy / "checkpoint.previous.pt").write_bytes(damaged)
    refused(run("evaluate", copy, "--checkpoint", "last"), "checkpoint.pt", "truncated")
    refused(run("train", "navigation", *TOY, "--run-dir", copy, "--resume"), "checkpoint.pt")
    assert (copy / "checkpoint.pt").read_bytes() == b"not a checkpoint"
    other = tmp_path / "other"
    run("train", "navigation", *TOY, "--seed", "5", "--method", "random", "--run-dir", other)
    shutil.copy(other / "checkpoint.pt", copy / "checkpoint.pt")
    refused(run("evaluate", copy, "--checkpoint", "last"), "another configuration")
    refused(run("evaluate", tmp_path / "nowhere"), "holds no run")


def test_plot_says_what_is_missing(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    run("train", "navigation", "--method", "random", *TOY, "--run-dir", fresh)
    refused(run("plot", fresh, "--output", tmp_path / "f.png"), "evaluation.csv", f"evaluate.py {fresh} first")
    refused(run("plot", "--output", tmp_path / "f.png"), "at least one run directory")


def test_plot_compares_only_what_can_be_compared(evaluated: Path, tmp_path: Path) -> None:
    figure = tmp_path / "f.png"
    refused(run("plot", evaluated, evaluated, "--output", figure), "are both maml, seed 1")
    other = tmp_path / "other"
    run("train", "navigation", "--method", "random", *TOY, "--run-dir", other)
    run("evaluate", other, "--tasks", "2")
    refused(
        run("plot", evaluated, other, "--output", figure), "cannot be compared: tasks is 3 in one and 2 in the other"
    )
    deeper = tmp_path / "deeper"
    run("train", "navigation", *TOY, "--seed", "2", "--inner-steps", "2", "--run-dir", deeper)
    run("evaluate", deeper)
    refused(run("plot", evaluated, deeper, "--output", figure), "inner_steps is 1 in one and 2 in the other")
    metrics = (evaluated / "metrics.csv").read_bytes()
    refused(run("plot", evaluated, "--output", figure, "--table", evaluated / "metrics.csv"), "lies in a run directory")
    assert (evaluated / "metrics.csv").read_bytes() == metrics
    assert not figure.exists()


def test_brackets_in_a_path_are_only_brackets(tmp_path: Path) -> None:
    run_dir = tmp_path / "[red]a[" / "b]"
    result = run("train", "navigation", "--method", "random", *TOY, "--run-dir", run_dir)
    assert result.returncode == 0, result.stderr
    assert "[red]a[/b]" in "".join(result.stderr.split())
    assert run("evaluate", run_dir).returncode == 0


def test_evaluation_sizes_that_cannot_be(trained: Path, tmp_path: Path) -> None:
    refused(run("evaluate", trained, "--tasks", "0"), "evaluation_tasks must be at least 1; got 0")
    refused(run("evaluate", trained, "--gradient-steps", "-1"), "evaluation_steps must be at least 0; got -1")
    refused(
        run("evaluate", trained, "--step-sizes", "0"),
        "evaluation_step_sizes must be a list of values that are each a positive number",
    )
    paper = ROOT / "experiments" / "results" / "navigation-paper" / "maml-seed1"
    refused(run("evaluate", paper, "--tasks", "41", "--output", tmp_path / "o"), "40 published test tasks", "41")


def test_what_is_shipped_can_be_evaluated_and_drawn(tmp_path: Path) -> None:
    paper = tmp_path / "maml-seed1"
    shutil.copytree(ROOT / "experiments" / "results" / "navigation-paper" / "maml-seed1", paper)
    sizes = ["--tasks", "2", "--episodes", "2", "--gradient-steps", "2"]
    scored = run("evaluate", paper, *sizes)
    assert scored.returncode == 0
    assert "published" not in scored.stdout  # of 40 tasks, not of 2
    assert run("plot", paper, "--output", tmp_path / "figure.png").returncode == 0
    refused(run("plot", paper), "--output PATH must be given: The figure's file")


def test_scripts_are_programs(tmp_path: Path) -> None:
    """Their files, as `__main__`; torchrun starts them as processes of their own in test_distributed.py."""
    run_dir = tmp_path / "run"
    result = as_main("train", "navigation", "--method", "random", *TOY, "--run-dir", run_dir)
    assert result.returncode == 0, result.stderr
    assert as_main("evaluate", run_dir).returncode == 0
    assert as_main("plot", run_dir, "--output", tmp_path / "figure.png").returncode == 0
    assert (tmp_path / "figure.png").is_file()
    refused(as_main("train", "navigation", "--tasks", "0"), "tasks must be at least 1; got 0")
    refused(as_main("reproduce", "chess"), "unknown experiment 'chess'")


@pytest.mark.parametrize("preset", sorted(name for name in PRESETS if "cheetah" in name or "ant" in name))
def test_every_locomotion_preset_trains_and_evaluates(preset: str, tmp_path: Path) -> None:
    toy = list(TOY)
    if PRESETS[preset].options["outer"] == "ppo":
        at = toy.index("--cg-iterations")
        toy[at : at + 2] = ["--minibatches", "2"]
    trained = run("train", preset, *toy, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", tmp_path / "run")
    assert evaluated.returncode == 0, evaluated.stderr
    rows = list(csv.DictReader((tmp_path / "run" / "evaluation.csv").read_text().splitlines()))
    assert len(rows) == 3 * 3  # 3 tasks after 0 to 2 gradient steps
    assert all(math.isfinite(float(row["average_return"])) for row in rows)
    assert rows[0]["experiment"] == preset.removesuffix("-paper")


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("environment", ["examples.line:example/Line-v0", "examples.pendulum:GravityPendulum-v0"])
def test_anybodys_environment_trains(environment: str, tmp_path: Path) -> None:
    trained = run("train", "custom", "--environment", environment, *TOY, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", tmp_path / "run")
    assert evaluated.returncode == 0, evaluated.stderr
    document = json.loads((tmp_path / "run" / "evaluation.json").read_text(), parse_constant=pytest.fail)  # no nan
    assert len(document["steps"]) == 3


def test_options_of_an_environment_are_flags(tmp_path: Path) -> None:
    options = ("--threads", "2", "--dynamics", "paper")
    result = run("train", "custom", "--environment", "metarl/AntDir-v1", *options, *TOY, "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    chosen = {"name": "metarl/AntDir-v1", "threads": 2, "dynamics": "paper", "observation": "raw"}
    chosen |= {"simulator": "auto"}
    assert config["problem"]["environment"] == chosen


def test_a_custom_environment_must_be_named_and_found(tmp_path: Path) -> None:
    refused(run("train", "custom", "--run-dir", tmp_path / "a"), "--environment")
    refused(
        run("train", "custom", "--environment", "nowhere:X-v0", "--run-dir", tmp_path / "b"),
        "there is no module 'nowhere'",
    )
    refused(run("train", "custom", "--environment", "Pendulum-v1", "--run-dir", tmp_path / "c"), "sample_tasks")


def test_an_opengl_backend_that_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo loads it as soon as it is imported itself, which happens here once more."""
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    for name in list(sys.modules):
        if name == "mujoco" or name.startswith(("mujoco.rendering", "metarl.envs.physics.")):
            monkeypatch.delitem(sys.modules, name)
    refused(run("train", "cheetah-dir", "--run-dir", tmp_path / "run"), "MUJOCO_GL=vulkan", "unset it, or set glfw")


@pytest.mark.usefixtures("drawn")
def test_an_evaluation_folder_elsewhere_is_not_emptied(evaluated: Path, tmp_path: Path) -> None:
    """A link out of the run directory: whose events these are is not known."""
    run_dir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(evaluated, run_dir)
    shutil.move(run_dir / "evaluation", elsewhere)
    (run_dir / "evaluation").symlink_to(elsewhere)
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    result = run("evaluate", run_dir)
    assert result.returncode == 0
    assert "a link out of the run directory" in result.stderr
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before


def test_a_resume_that_finds_nothing_says_so(trained: Path, tmp_path: Path) -> None:
    """A preset begins a run then, which `make train` counts on; without one there is nothing to begin."""
    mistyped = trained.with_name("mamml")
    refused(run("train", "--resume", "--run-dir", mistyped), f"{mistyped} holds no run to go on with ({trained} does)")
    refused(run("train", "--resume", "--run-dir", tmp_path / "a" / "b"), "b holds no run to go on with: name its")
    flags = ["--method", "random", *TOY, "--run-dir", mistyped, "--resume"]
    begun = run("train", "navigation", *flags)
    assert begun.returncode == 0
    words = f"note: {mistyped} holds no run to go on with ({trained} does): a new run begins"
    assert begun.stderr.splitlines().count(words) == 1
    assert "a new run begins" not in run("train", "navigation", *flags).stderr


def test_parameters_of_another_run_are_told_what_was_otherwise_there(tmp_path: Path) -> None:
    """Equal shapes do not make equal networks: with another activation the parameters are another policy's."""
    plain = preset_config("navigation")
    other = with_options(plain, {"activation": "tanh", "inner_step_size": 0.3, "seed": 7, "iterations": 9})
    (tmp_path / "config.json").write_text(json.dumps({"config": other.to_dict()}))
    (words,) = differences_from(tmp_path, plain)
    own = flat(plain)["inner_step_size"]
    assert words == (
        "the parameters are of another run: activation is tanh there and relu here; "
        f"inner_step_size is 0.3 there and {own} here"
    )
    assert differences_from(tmp_path, other) == []
    assert differences_from(tmp_path / "best.pt", plain) == []
    assert differences_from(None, plain) == []
