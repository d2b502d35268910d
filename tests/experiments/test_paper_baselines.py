"""The paper's baselines through the scripts, for reinforcement learning; supervised ones: test_supervised.py."""

import csv
import json
import math
from pathlib import Path

import pytest
from scripts import TOY, run, sized

from metarl.experiments.presets.configuration import METHOD_OPTIONS, PRESETS, preset_config
from metarl.experiments.presets.training_arguments import parse
from metarl.training.checkpoint import load
from metarl.training.tree import flat

pytestmark = pytest.mark.usefixtures("undrawn")
INPUTS = {"navigation": (2, 2), "cheetah-vel-paper": (20, 1), "ant-goal-paper": (125, 2)}  # observation, task


@pytest.mark.parametrize("method", ["pretrained", "oracle"])
@pytest.mark.parametrize("preset", sorted(INPUTS))
def test_baselines_of_reinforcement_learning(preset: str, method: str, tmp_path: Path) -> None:
    trained = run("train", preset, *sized(TOY, method), "--method", method, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", tmp_path / "run")
    assert evaluated.returncode == 0, evaluated.stderr
    rows = list(csv.DictReader((tmp_path / "run" / "evaluation.csv").read_text().splitlines()))
    assert len(rows) == 3 * (1 if method == "oracle" else 3)  # 3 tasks; the oracle takes no gradient steps
    assert all(math.isfinite(float(row["average_return"])) for row in rows)
    metrics = list(csv.DictReader((tmp_path / "run" / "metrics.csv").read_text().splitlines()))
    assert len(metrics) == 2
    assert "rollout/return_step1" not in metrics[0]
    observation, task = INPUTS[preset]
    weights = load(tmp_path / "run" / "checkpoint.pt").theta
    first = next(leaf for leaf in weights.values() if leaf.dim() == 2)
    assert observation + task * (method == "oracle") in first.shape


def test_an_oracle_of_anybodys_environment(tmp_path: Path) -> None:
    flags = ["custom", "--environment", "examples.line:example/Line-v0", "--method", "oracle"]
    trained = run("train", *flags, *sized(TOY, "oracle"), "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    assert run("evaluate", tmp_path / "run").returncode == 0
    assert len(json.loads((tmp_path / "run" / "evaluation.json").read_text())["steps"]) == 1


def test_all_methods_in_one_figure(tmp_path: Path) -> None:
    runs = []
    for method in ("maml", "pretrained", "oracle", "random"):
        runs.append(tmp_path / method)
        flags = [*sized(TOY, method), "--method", method]
        assert run("train", "navigation", *flags, "--run-dir", runs[-1]).returncode == 0
        assert run("evaluate", runs[-1]).returncode == 0
    drawn = run("plot", *runs, "--output", tmp_path / "figure.png", "--table", tmp_path / "table.csv")
    assert drawn.returncode == 0, drawn.stderr
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["maml"] * 3 + ["pretrained"] * 3 + ["oracle"] + ["random"] * 3


@pytest.mark.parametrize(
    ("preset", "method", "sizes"),
    [
        ("navigation", "maml", (0.5, 0.25)),
        ("navigation", "pretrained", (0.5, 0.25)),
        ("navigation", "random", (0.5, 0.25)),
        ("cheetah-vel", "maml", (0.1, 0.05)),
        ("cheetah-vel", "pretrained", (0.02, 0.01)),
        ("cheetah-vel", "random", (0.1, 0.05)),
        ("cheetah-dir", "maml", (0.1, 0.05)),
        ("cheetah-dir", "pretrained", (0.2, 0.1)),
        ("cheetah-dir", "random", (0.5, 0.25)),
        ("ant-vel", "maml", (0.1, 0.05)),
        ("ant-vel", "pretrained", (0.2, 0.1)),
        ("ant-vel", "random", (1.0, 0.5)),
        ("ant-dir", "maml", (0.1, 0.001)),
        ("ant-dir", "pretrained", (0.2, 0.1)),
        ("ant-dir", "random", (1.0, 0.5)),
    ],
)
def test_the_published_step_sizes(preset: str, method: str, sizes: tuple[float, float]) -> None:
    config = preset_config(f"{preset}-paper", method)
    assert config.test_step_sizes == sizes
    assert config.evaluation_checkpoint == ("last" if method in ("maml", "random") else "best")
    assert (flat(config)["activation"] == "tanh") == ((preset, method) == ("navigation", "random"))


def test_the_published_settings_of_each_method() -> None:
    """As the paper's baselines were trained and evaluated, where it says so; flags come after them."""
    assert {preset for preset, _ in METHOD_OPTIONS} <= set(PRESETS)
    oracle = flat(preset_config("navigation-paper", "oracle"))
    assert oracle["tasks"] * oracle["episodes"] * oracle["horizon"] == 1000
    for name in ("cheetah-vel-paper", "cheetah-dir-paper", "ant-vel-paper", "ant-dir-paper"):
        for method in ("pretrained", "oracle"):
            values = flat(preset_config(name, method))
            assert values["tasks"] * values["episodes"] * values["horizon"] == 20_000
            assert (values["max_kl"], values["iterations"]) == (0.01, 1000 if "cheetah" in name else 2000)
    assert preset_config("cheetah-vel-paper", "pretrained").evaluation_step_sizes == (0.02, 0.01)
    assert preset_config("cheetah-vel-paper") == preset_config("cheetah-vel-paper", "maml")


def test_options_of_training_are_noted_where_nothing_is_trained(tmp_path: Path) -> None:
    outer = ("--outer", "adam", "--learning-rate", "0.5", "--iterations", "7")
    line = ("train", "navigation", "--seed", "3", *outer, "--log-every", "2", "--run-dir", tmp_path / "run")
    told = run(*line, "--method", "random")
    assert told.returncode == 0, told.stderr
    assert "note: --iterations, --learning-rate, --log-every, --outer have no effect: method random" in told.stderr
    assert "--seed" not in told.stderr
    assert preset_config("navigation").idle == frozenset()
    # They do have none.
    plain = run("train", "navigation", "--seed", "3", "--method", "random", "--run-dir", tmp_path / "plain")
    assert "note:" not in plain.stderr
    given, default = (load(tmp_path / name / "checkpoint.pt").theta for name in ("run", "plain"))
    assert all(given[name].equal(leaf) for name, leaf in default.items())


@pytest.mark.parametrize("method", ["pretrained", "oracle"])
def test_options_without_effect_are_refused(method: str) -> None:
    """They are, as the numbers show, without effect: the built problem and the evaluation's rule are the same."""
    idle = preset_config("navigation", method).without_effect
    assert {"inner_steps", "first_order"} <= set(idle)
    assert ("inner_step_size" in idle) == ("inner_loss" in idle) == (method == "oracle")
    words = {"first_order": [], "inner_loss": ["likelihood_ratio"], "rule": ["meta-sgd"], "not_adapted": ["log_std"]}
    for name in sorted(idle):
        flag = f"--{name.replace('_', '-')}"
        with pytest.raises(ValueError, match=f"{flag} means nothing for method {method}, which trains without inner"):
            parse(["navigation", "--method", method, flag, *words.get(name, ["1"])])
        assert parse(["navigation", flag, *words.get(name, ["1"])]).config.method == "maml"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "navigation --outer reptile --first-order",
            "--first-order means nothing for outer reptile, which differentiates",
        ),
        ("navigation --outer reptile --outer-loss e_maml", "--outer-loss means nothing for outer reptile, which diff"),
        (
            "sinusoid --inner-steps 2 --outer reptile --outer-loss multi_step",
            "--outer-loss means nothing for outer rep",
        ),
        (
            "navigation --inner-steps 0 --first-order",
            "--first-order means nothing for inner_steps 0, which trains without",
        ),
        (
            "navigation --rule meta-sgd --evaluation-step-sizes 0.3",
            "--evaluation-step-sizes means nothing for rule meta-sgd",
        ),
        (
            "navigation --outer reptile --rule anil",
            "so that rule anil would stay as it began: choose rule sgd, or outer adam",
        ),
        (
            "navigation --outer reptile --rule cavia",
            "outer reptile moves only what inner steps move, so that rule cavia",
        ),
        ("navigation --outer reptile --rule lslr --learned-steps 1", "so that rule lslr would stay as it began"),
        (
            "navigation --schedule-steps 3",
            "is an option of schedule cosine, with outer adam, ppo, promp; outer is trpo here",
        ),
    ],
)
def test_what_would_be_ignored_beside_another_choice_is_refused(line: str, words: str) -> None:
    """All of these trained in silence as if the option had not been given, or with a rule that never learned."""
    with pytest.raises(ValueError, match=words):
        parse(line.split())


@pytest.mark.parametrize("line", ["--inner-steps 0", "--method pretrained"])
def test_sizes_for_every_step_need_steps(line: str) -> None:
    config = parse(["navigation", "--rule", "lslr", *line.split()]).config
    with pytest.raises(
        ValueError, match="learns something for each inner step, and training takes none: choose rule sgd"
    ):
        config.problem.build(config.setting())


def test_e_maml_needs_inner_steps() -> None:
    """Its second term is about the episodes before them: without any it was MAML's loss under another name."""
    config = parse(["navigation", "--outer-loss", "e_maml", "--inner-steps", "0"]).config
    with pytest.raises(
        ValueError, match="outer_loss e_maml needs at least 1 inner step in training; got 0: choose surr"
    ):
        config.problem.build(config.setting())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ant-goal --published-tasks", "no published test tasks for 'ant-goal'"),
        ("custom --environment metarl/AntVel-v1 --published-tasks", "no published test tasks for 'custom'"),
        ("navigation --environment metarl/AntVel-v1 --published-tasks", "are 2 numbers each; this environment's are 1"),
        ("navigation-paper --evaluation-tasks 41", "there are 40 published test tasks; got --tasks 41"),
    ],
)
def test_tasks_that_were_never_published_are_refused_at_the_start(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(line.split())


@pytest.mark.parametrize("method", [["--method", "oracle"], ["--method=oracle"]])
def test_flags_come_after_the_methods_settings(method: list[str]) -> None:
    assert parse(["cheetah-vel-paper", *method]).config.iterations == 1000
    assert parse(["cheetah-vel-paper", "--iterations", "475", *method]).config.iterations == 475
    assert parse(["cheetah-vel-paper"]).config.iterations == 475
