"""The scripts on supervised presets, at toy sizes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scripts import ROOT, refused, run, sized

from metarl.experiments.presets.training_arguments import parse
from metarl.problems import supervised
from metarl.randomness import Purpose
from metarl.training.callbacks.csv import read_metrics
from metarl.training.checkpoint import load
from metarl.training.run_directory import read_parameters
from metarl.training.tree import flat

pytestmark = pytest.mark.usefixtures("undrawn")
SIZES = [
    *("--iterations", "4", "--tasks", "2", "--evaluation-tasks", "3", "--evaluation-steps", "2", "--log-every", "2"),
    *("--validation-tasks", "2", "--evaluate-every", "2", "--checkpoint-every", "2", "--no-compile"),
    *("--render-every", "0"),
]
DENSE = ["--network", "dense"]
SINUSOID = [*SIZES, "--hidden-sizes", "8"]


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like that of the real dataset."""
    path = tmp_path_factory.mktemp("data") / "characters.npz"
    images = (np.random.default_rng(0).random((1623, 20, 28, 28)) < 0.1).astype(np.uint8)
    names = np.array(["a"] * 1623)
    np.savez(path, images=images, alphabet=names, character=names)
    return path


def scored(run_dir: Path) -> dict:
    return json.loads((run_dir / "evaluation.json").read_text())


@pytest.mark.parametrize("method", ["maml", "pretrained", "oracle", "random"])
@pytest.mark.parametrize("variant", [[], ["--first-order"], ["--rule", "meta-sgd"]])
def test_sinusoid_by_every_method(
    tmp_path: Path, method: str, variant: list[str], unpainted: Callable[[], None]
) -> None:
    """Films and pictures are those of the method, whatever the variant."""
    filmed = "4"
    if variant:
        filmed = "0"
        unpainted()
    flags = ["--method", method, *sized(SINUSOID, method), *variant, "--render-every", filmed]
    trained = run("train", "sinusoid", *flags, "--run-dir", tmp_path / "run")
    if (method == "oracle" and variant) or (method == "pretrained" and variant == ["--first-order"]):
        refused(trained, f"{variant[0]} means nothing for method {method}")
        return
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", tmp_path / "run", "--shots", "5", "--queries", "6")
    assert evaluated.returncode == 0, evaluated.stderr
    document = scored(tmp_path / "run")
    assert len(document["steps"]) == (1 if method == "oracle" else 3)  # the oracle knows, it does not adapt
    assert (document["shots"], document["queries"], document["tasks"]) == (5, 6, 3)
    drawn = run("plot", tmp_path / "run", "--output", tmp_path / "figure.png")
    assert drawn.returncode == 0, drawn.stderr


@pytest.mark.parametrize("lacking", ["there is no C++ compiler", "there is no Python.h (Debian, Ubuntu: "])
def test_what_compilation_needs_and_is_not_here_is_said(
    tmp_path: Path, lacking: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "C++" in lacking:
        monkeypatch.setenv("CXX", "nowhere_to_be_found")
    else:
        monkeypatch.setattr(supervised.sysconfig, "get_path", lambda _: str(tmp_path))
    flags = [flag for flag in SINUSOID if flag != "--no-compile"]
    monkeypatch.setattr("torch.compile", lambda *_, **__: pytest.fail("this would fail"))
    trained = run("train", "sinusoid", *flags, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert f"without torch.compile: {lacking}" in trained.stderr


@pytest.mark.parametrize(
    "flags", [["--filters", "2"], [*DENSE, "--hidden-sizes", "8"], ["--ways", "3", "--shots", "2", "--filters", "2"]]
)
def test_omniglot_from_training_to_pictures(
    characters: Path, tmp_path: Path, flags: list[str], unpainted: Callable[[], None]
) -> None:
    """The figure of the scores, which is the same whatever the network, is painted once."""
    if flags != ["--filters", "2"]:
        unpainted()
    run_dir, data = tmp_path / "run", ["--data-dir", characters]
    sizes = [*SIZES, "--render-every", "2", *flags]
    trained = run("train", "omniglot-5way-1shot", *sizes, *data, "--run-dir", run_dir)
    assert trained.returncode == 0, trained.stderr
    assert "accuracy" in trained.stderr
    evaluated = run("evaluate", run_dir)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "as papers print it" in evaluated.stdout
    assert {"accuracy", "loss", "diverged", "gradient_steps"} == set(scored(run_dir)["steps"][0])
    for output in ("task.png", "task.gif"):
        assert run("render", run_dir, "--output", tmp_path / output).returncode == 0
    assert run("plot", run_dir, "--output", tmp_path / "figure.png").returncode == 0
    before = (run_dir / "evaluation.csv").read_bytes()
    assert run("evaluate", run_dir, "--validation").returncode == 0
    assert (
        (run_dir / "evaluation.csv").read_bytes() == before != (run_dir / "validation" / "evaluation.csv").read_bytes()
    )
    moved = characters.rename(tmp_path / "elsewhere.npz")
    refused(run("evaluate", run_dir), "there is no file", "characters.npz")
    assert run("evaluate", run_dir, "--data-dir", moved).returncode == 0
    moved.rename(characters)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--ways 424", ("ways must be from 2 to 100", "got 424")),
        ("--shots 15 --queries 6", ("at most 20", "got 21")),
        ("--evaluation-queries 20", ("at most 20", "got 21")),
        ("--method oracle", ("'oracle' makes no sense for a classification",)),
        ("--method pretrained", ("'pretrained' makes no sense for a classification",)),
        ("--data-dir nowhere/at/all.npz", ("there is no file nowhere/at/all.npz",)),
        ("--evaluate-every 0", ("evaluate_every must be at least 1; got 0",)),
        ("--rule lslr", ("learned_steps must be at most 1, the inner steps of training", "got 5")),
        ("--rule lslr --inner-steps 3 --first-order", ("learned_steps must be at most 3", "got 5")),
        ("--outer-loss multi_step", ("multi_step needs at least 2 inner steps in training; got 1",)),
        ("--schedule cosine --no-compile", ("schedule cosine needs schedule_steps",)),
        ("--environment metarl/Navigation2D-v0", ("--environment",)),
        ("--dataset mini_imagenet --data-dir nowhere", ("there is no folder nowhere",)),
    ],
)
def test_mistakes(characters: Path, tmp_path: Path, flags: str, words: tuple[str, ...]) -> None:
    data = [] if "--data-dir" in flags else ["--data-dir", characters]
    refused(run("train", "omniglot-5way-1shot", *data, *flags.split(), "--run-dir", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_flags_of_the_other_problem_are_refused(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    assert run("train", "sinusoid", *SINUSOID, "--run-dir", run_dir).returncode == 0
    refused(run("evaluate", run_dir, "--episodes", "3"), "--episodes means nothing for sinusoid, got 3")
    refused(run("evaluate", run_dir, "--counting", "timesteps"), "--counting means nothing for sinusoid")
    refused(
        run("train", "sinusoid", *SINUSOID, "--network", "strided", "--run-dir", tmp_path / "b"),
        "is an option of network dense",
    )
    assert not (tmp_path / "b").exists()


def test_a_resumed_run_is_the_whole_one(tmp_path: Path) -> None:
    for name, stops in (("whole", [6]), ("resumed", [2, 6])):
        for iterations in stops:
            flags = [*SINUSOID, "--iterations", str(iterations), "--rule", "meta-sgd", "--resume"]
            assert run("train", "sinusoid", *flags, "--run-dir", tmp_path / name).returncode == 0
    whole, resumed = (load(tmp_path / name / "checkpoint.pt") for name in ("whole", "resumed"))
    assert resumed.iteration == 6
    for one, other in ((whole.theta, resumed.theta), (whole.outer_state, resumed.outer_state)):
        assert all(torch.equal(one[leaf], other[leaf]) for leaf in one)


def test_all_of_maml_plus_plus_resumes_bitwise_and_is_scored_beyond_its_steps(characters: Path, tmp_path: Path) -> None:
    """Step sizes and shifts of two steps, annealed weights, a falling learning rate; on a network with batch norm."""
    flags = [
        *(*SIZES, *DENSE, "--hidden-sizes", "8", "--data-dir", str(characters), "--inner-steps", "2"),
        *("--evaluation-steps", "3", "--rule", "lslr", "--learned-steps", "2", "--per-step", "*.shift"),
        *("--outer-loss", "multi_step", "--annealing-iterations", "5", "--schedule", "cosine", "--schedule-steps", "6"),
    ]
    for name, stops in (("whole", [6]), ("resumed", [2, 6])):
        for iterations in stops:
            done = run(
                "train", "omniglot-5way-1shot", *flags, "--iterations", str(iterations), "--resume",
                *("--run-dir", tmp_path / name),
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
    whole, resumed = (load(tmp_path / name / "checkpoint.pt") for name in ("whole", "resumed"))
    for one, other in ((whole.theta, resumed.theta), (whole.outer_state, resumed.outer_state)):
        assert all(torch.equal(one[leaf], other[leaf]) for leaf in one)
    assert whole.theta["after.body.0.shift"].shape == (2, 8)
    assert whole.theta["step_sizes.head.weight"].unique().numel() == 2
    evaluated = run("evaluate", tmp_path / "whole", "--transductive", "False", "--data-dir", characters)
    assert evaluated.returncode == 0, evaluated.stderr
    document = scored(tmp_path / "whole")
    assert (len(document["steps"]), document["transductive"]) == (4, False)


def test_variants_are_drawn_side_by_side(tmp_path: Path) -> None:
    runs = []
    both = ["--rule", "meta-sgd", "--first-order"]
    for name, flags in (("maml", []), ("first", both[2:]), ("meta-sgd", both[:2]), ("both", both)):
        runs.append(tmp_path / name)
        assert run("train", "sinusoid", *SINUSOID, *flags, "--run-dir", runs[-1]).returncode == 0
        assert run("evaluate", runs[-1]).returncode == 0
    drawn = run("plot", *runs, "--output", tmp_path / "figure.png", "--table", tmp_path / "table.csv")
    assert drawn.returncode == 0, drawn.stderr
    with (tmp_path / "table.csv").open(newline="") as file:
        assert {row["method"] for row in csv.DictReader(file)} == {
            "maml", "maml, first order", "Meta-SGD", "Meta-SGD, first order",
        }  # fmt: skip


def test_the_best_parameters_are_those_of_the_best_validation(tmp_path: Path) -> None:
    """Large steps of Adam, so that no iterate is like another; the last parameters count too."""
    for seed in ("1", "2", "3"):
        run_dir = tmp_path / seed
        flags = [*SINUSOID, "--seed", seed, "--learning-rate", "0.3", "--iterations", "5", "--evaluate-every", "1"]
        assert run("train", "sinusoid", *flags, "--run-dir", run_dir).returncode == 0
        losses = [row["validation/loss_step1"] for row in read_metrics(run_dir / "metrics.csv")]
        assert len(losses) == 6
        best = load(run_dir / "best.pt")
        assert best.iteration == int(np.argmin(losses))
        assert best.best_score == -min(losses)


def test_a_best_checkpoint_is_always_chosen(tmp_path: Path) -> None:
    flags = [*SINUSOID, "--inner-steps", "3"]
    refused(
        run("train", "sinusoid", *flags, "--run-dir", tmp_path / "run"), "evaluation_steps", "inner_steps, 3", "got 2"
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("sinusoid --ways 9", ("--ways is an option of dataset", "; dataset is sinusoid here")),
        ("sinusoid --filters 3", ("--filters is an option of network", "network is dense here")),
        ("sinusoid --data-dir nowhere", ("--data-dir is an option of dataset", "dataset is sinusoid here")),
        ("omniglot-5way-1shot --hidden-sizes 8", ("--hidden-sizes is an option of network dense; network is strided",)),
        (
            "navigation --ways 3",
            ("is an option of dataset glyphs, image_folder, mini_imagenet and others; problem is",),
        ),
        ("sinusoid --initial-std 3", ("is an option of policy gaussian_mlp; problem is supervised here",)),
        (
            "navigation --learning-rate 1",
            ("--learning-rate is an option of outer adam, ppo, promp; outer is trpo here",),
        ),
        ("navigation --outer adam --max-kl 1", ("--max-kl is an option of outer trpo; outer is adam here",)),
        ("navigation --finite-difference-epsilon 1", ("finite_difference_epsilon means nothing for curvature",)),
    ],
)
def test_flags_that_mean_nothing_are_refused(tmp_path: Path, flags: str, words: tuple[str, ...]) -> None:
    refused(run("train", *flags.split(), "--run-dir", tmp_path / "run"), *words)
    assert not (tmp_path / "run").exists()


def test_learned_step_sizes_and_oracles_take_none(tmp_path: Path) -> None:
    for name, flags in (("meta-sgd", ["--rule", "meta-sgd"]), ("oracle", ["--method", "oracle"])):
        assert run("train", "sinusoid", *sized(SINUSOID, name), *flags, "--run-dir", tmp_path / name).returncode == 0
        refused(run("evaluate", tmp_path / name, "--step-sizes", "5"), name)
    refused(run("evaluate", tmp_path / "oracle", "--gradient-steps", "1"), "takes no gradient steps")
    refused(run("render", tmp_path / "oracle", "--gradient-steps", "1", "--output", tmp_path / "a.png"), "got 1")
    assert run("render", tmp_path / "oracle", "--output", tmp_path / "a.png").returncode == 0


def test_figures_are_of_test_tasks(tmp_path: Path) -> None:
    assert run("train", "sinusoid", *SINUSOID, "--run-dir", tmp_path / "run").returncode == 0
    assert (
        run("evaluate", tmp_path / "run", "--validation", "--tasks", "7", "--output", tmp_path / "run").returncode == 0
    )
    document = scored(tmp_path / "run")
    assert (document["split"], document["tasks"]) == ("validation", 7)
    refused(run("plot", tmp_path / "run", "--output", tmp_path / "f.png"), "was evaluated on validation tasks")


@pytest.mark.parametrize(
    ("flags", "size", "said"),
    [
        ("", 0.01, False),
        ("--shots 10", 0.01, False),
        ("--shots=5", 0.001, True),
        ("--shots 9 --rule meta-sgd", 0.001, True),
        ("--shots 5 --inner-step-size 0.01", 0.01, False),
        ("--shots 5 --inner-step-size 0.001", 0.001, False),
    ],
)
def test_few_examples_have_a_smaller_step_size_and_the_preset_says_so(flags: str, size: float, said: bool) -> None:
    arguments = parse(["sinusoid", *flags.split()])
    assert flat(arguments.config)["inner_step_size"] == size
    assert [note.split(":")[0] for note in arguments.notes] == (
        ["inner_step_size is 0.001 because --shots is below 10"] if said else []
    )


def test_a_run_keeps_the_step_size_that_it_began_with(tmp_path: Path) -> None:
    """Also one that began before the preset had another for few examples; what is chosen is said at the start alone."""
    flags = [*SINUSOID, "--shots", "5", "--run-dir", str(tmp_path / "run")]
    begun = run("train", "sinusoid", *flags, "--inner-step-size", "0.01")
    assert "note: inner_step_size" not in begun.stderr
    again = run("train", "sinusoid", *flags, "--resume")
    assert (again.returncode, "note: inner_step_size" in again.stderr) == (0, False), again.stderr
    other = run("train", "sinusoid", *flags[:-1], tmp_path / "other")
    assert "note: inner_step_size is 0.001 because --shots is below 10" in other.stderr
    sizes = [
        json.loads((tmp_path / name / "config.json").read_text())["config"]["rule"]["inner_step_size"]
        for name in ("run", "other")
    ]
    assert sizes == [0.01, 0.001]


def test_the_step_size_for_few_examples_is_stable_over_ten_steps() -> None:
    """Of the parameters that are kept of training with 5 examples, and of training with 10."""
    config = parse(["sinusoid", "--shots", "5"]).config
    problem = config.problem.build(config.setting())
    tasks = problem.sample_tasks(7, Purpose.EVALUATION_TASKS, count=300)
    for name in ("maml-5shot-seed1", "maml-5shot-seed2", "maml-5shot-seed3", "maml-10shot"):
        theta = read_parameters(ROOT / "experiments" / "results" / "sinusoid" / name, "best").theta
        scores = problem.evaluate(theta, config.test_rule, 10, tasks, 7).scores
        loss = scores["loss"].mean(1)
        assert (np.diff(loss) < 0.02).all(), name
        assert loss[10] < 0.7 * loss[1]
        assert scores["diverged"].mean() < 0.01
