"""Parts of one's own, each one file outside the packages: found by name, with their options, wherever a run is read."""

import json
import runpy
import sys
import traceback
from pathlib import Path
from typing import Any

import own_callback
import own_outer
import own_rule
import pytest
import torch
from gymnasium.vector import VectorEnv
from scripts import ROOT, TOY, as_main, refused, run

import metarl
from metarl.engine.conformance import check_rule
from metarl.envs import Navigation2D, TaskVectorEnv
from metarl.training.checkpoint import load

pytestmark = pytest.mark.usefixtures("undrawn")
EXAMPLES = ROOT / "examples"
PARTS = [  # flag, name, an option of its own, another value, a value out of its bounds
    ("--rule", "own_rule", "Cautious", "--longest-step", "3", "0.01", "-1"),
    ("--outer", "own_outer", "HeavyBall", "--momentum", "0.5", "0.1", "1"),
    ("--policy", "own_policy", "Net", "--width", "6", "7", None),
]
SMALL = "--iterations 2 --tasks 2 --hidden-sizes 8 --log-every 1 --no-compile"
SUPERVISED = [*SMALL.split(), *["--evaluation-tasks", "3", "--validation-tasks", "2", "--evaluation-steps", "1"]]


def toy(flag: str, *more: str) -> list[str]:
    """Small sizes, without those of options that the user's own part does not have."""
    lacks = {"--outer": "--cg-iterations", "--policy": "--hidden-sizes"}.get(flag)
    words = list(TOY)
    if lacks:
        at = words.index(lacks)
        del words[at : at + 2]
    return [*words, *more]


def vector_env() -> VectorEnv:
    return TaskVectorEnv(Navigation2D(), 3, horizon=6)


@pytest.mark.parametrize(("flag", "module", "name", "option", "value", "other", "wrong"), PARTS)
def test_a_part_in_a_file_goes_wherever_a_run_goes(
    flag: str, module: str, name: str, option: str, value: str, other: str, wrong: str | None, tmp_path: Path
) -> None:
    file = f"{EXAMPLES / module}.py"
    command = ["navigation", flag, f"{file}:{name}", *toy(flag), "--run-dir", str(tmp_path / "run")]
    trained = run("train", *command, option, value)
    assert trained.returncode == 0, trained.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    holder = config if flag != "--policy" else config["problem"]
    kept = holder[flag.removeprefix("--")]
    assert kept["name"] in (f"{file}:{name}", f"{module}:{name}")  # of one class both are names
    assert str(kept[option.removeprefix("--").replace("-", "_")]) in (value, f"{value}.0")

    at = command.index("--iterations") + 1
    resumed = run("train", *command[:at], "3", *command[at + 1 :], option, value, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert load(tmp_path / "run" / "checkpoint.pt").iteration == 3
    words = option.removeprefix("--").replace("-", "_")
    refused(run("train", *command, option, other, "--resume"), f"{words} is {value}")

    for script, *arguments in (["evaluate"], ["render", "--output", str(tmp_path / "film.png"), "--height", "40"]):
        done = run(script, tmp_path / "run", *arguments)
        assert done.returncode == 0, done.stderr
    agent = metarl.load_agent(tmp_path / "run").adapt(vector_env(), [0.2, 0.1])
    assert agent.act([0.0, 0.0]).shape == (2,)
    assert option in run("train", "navigation", flag, f"{file}:{name}", "--help").stdout
    if wrong is not None:
        refused(run("train", *command, option, wrong), words, wrong)


@pytest.mark.parametrize(("flag", "module", "name", "option", "value", "other", "wrong"), PARTS)
def test_what_its_option_says_changes_the_run(
    flag: str, module: str, name: str, option: str, value: str, other: str, wrong: str | None, tmp_path: Path
) -> None:
    ends = []
    for number, own in enumerate((value, other)):
        place = tmp_path / str(number)
        command = ["navigation", flag, f"{EXAMPLES / module}.py:{name}", *toy(flag, option, own)]
        done = run("train", *command, "--inner-step-size", "1.0", "--run-dir", place)
        assert done.returncode == 0, done.stderr
        ends.append(load(place / "checkpoint.pt").theta)
    one, two = ends
    assert any(one[leaf].shape != two[leaf].shape or not torch.equal(one[leaf], two[leaf]) for leaf in one)


def test_a_script_finds_a_part_by_its_module_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text((EXAMPLES / "own_rule.py").read_text())
    chosen = ("navigation", "--rule", "mine:Cautious", "--shrink", "0.5")
    done = as_main("train", *chosen, *TOY, "--run-dir", "run")
    assert done.returncode == 0, done.stderr
    assert json.loads(Path("run/config.json").read_text())["config"]["rule"]["name"] == "mine:Cautious"


def test_the_rule_keeps_the_contract_and_its_steps_their_limit() -> None:
    part = own_rule.Cautious(inner_step_size=0.5, longest_step=0.2, shrink=0.5)
    check_rule(part)
    rule = part.build()
    theta = {"a": torch.zeros(3, dtype=torch.float64), "b": torch.zeros(1, dtype=torch.float64)}
    gradient = {"a": torch.tensor([0.0, 3.0, 0.0]).double(), "b": torch.tensor([4.0]).double()}
    long = rule.update(theta, gradient, theta, 0)
    torch.testing.assert_close(long["a"], torch.tensor([0.0, -0.12, 0.0]).double())
    torch.testing.assert_close(long["b"], torch.tensor([-0.16]).double())
    small = {name: 0.01 * leaf for name, leaf in gradient.items()}
    torch.testing.assert_close(rule.update(theta, small, theta, 2)["b"], torch.tensor([-0.005]).double())


class Bowl:
    """An objective whose gradient is theta."""

    def loss_and_gradient(self, theta: Any) -> Any:
        return 0.5 * sum(float(leaf.square().sum()) for leaf in theta.values()), theta


def test_the_optimiser_is_polyaks_and_refuses_what_is_not_finite() -> None:
    outer = own_outer.HeavyBall(outer_rate=0.1, momentum=0.5).build()
    theta: Any = {"a": torch.tensor([2.0, -1.0]).double()}
    state, expected, velocity = outer.init(theta), theta["a"], torch.zeros(2).double()
    info = {}
    for _ in range(3):
        velocity = 0.5 * velocity + expected
        expected = expected - 0.1 * velocity
        theta, state, info = outer.step(theta, state, Bowl())  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(theta["a"], expected)
    assert info["speed"] == pytest.approx(velocity.norm().item())
    broken: Any = {"a": torch.tensor([torch.inf, 0.0]).double()}
    same, kept, info = outer.step(broken, state, Bowl())  # pyright: ignore[reportArgumentType]
    assert same is broken
    assert kept is state
    assert info["nonfinite"] == 1.0


def test_they_learn_from_python(tmp_path: Path) -> None:
    """Measured after an inner step on lines: a loss of 1.15 of a fresh network, of 0.50 after 100 iterations."""
    _, after = own_outer.main(str(tmp_path / "outer"), own_outer.HeavyBall(momentum=0.8), iterations=100)
    assert after < 0.7
    returned = own_rule.main(str(tmp_path / "rule"), own_rule.Cautious(), iterations=1)
    assert -10 < returned < 0
    gains = own_callback.main(str(tmp_path / "callback"))
    assert len(gains) == 3


@pytest.mark.parametrize("name", ["own_rule", "own_outer", "own_callback"])
def test_they_are_scripts(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("metarl.training.runs.loop.train", StopHereError.raised)
    with pytest.raises(StopHereError):
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


class StopHereError(Exception):
    @classmethod
    def raised(cls, *args: object, **kwargs: object) -> None:
        raise cls


def test_callbacks_of_ones_own_any_number_of_them(tmp_path: Path) -> None:
    file = EXAMPLES / "own_callback.py"
    twice = ("--callback", f"{file}:Gain", "--callback", f"{file}:Gain")
    done = run("train", "navigation", *TOY, *twice, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("gain of one inner step:")]
    assert len(lines) == 2
    assert len(lines[0].split()) == 5 + 2  # two iterations
    again = run("train", "navigation", *TOY, "--run-dir", tmp_path / "run", "--resume")
    assert again.returncode == 0, again.stderr
    for choice, words in (
        ("Gain", "must be MODULE:NAME"),
        (f"{file}:Loss", "has no Loss; it has"),
        (f"{file}:main", "missing 1 required positional argument"),
        (f"{file}:np", "must be a class of callbacks"),
    ):
        with_it = ("train", "navigation", *TOY, "--callback", choice, "--run-dir", tmp_path / "other")
        refused(run(*with_it), words)


@pytest.mark.parametrize(("name", "option"), [("lines", "--steepest"), ("fading", "--fade")])
def test_a_dataset_trains_and_is_evaluated(name: str, option: str, tmp_path: Path) -> None:
    chosen = ("--dataset", f"{EXAMPLES / 'own_dataset.py'}:{name}", option, "2")
    done = run("train", "sinusoid", *chosen, *SUPERVISED, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    for script, *arguments in (["evaluate"], ["render", "--output", str(tmp_path / "fit.png")]):
        done = run(script, tmp_path / "run", *arguments)
        assert done.returncode == 0, done.stderr
    refused(run("train", "sinusoid", *chosen, *SUPERVISED, "--reach", "1", "--run-dir", tmp_path / "b"), "--reach")


def test_an_error_inside_the_users_module_is_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken_part.py").write_text("import math\n\nvalue = math.sqrt(-1)\n")
    Path("missing_part.py").write_text("import surely_not_installed\n")
    with pytest.raises(ValueError, match=r"math domain error|nonnegative") as raised:
        run("train", "navigation", "--rule", "broken_part.py:Rule", "--run-dir", "run")
    assert "value = math.sqrt(-1)" in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ModuleNotFoundError, match="surely_not_installed"):
        run("train", "navigation", "--rule", "missing_part:Rule", "--run-dir", "run")
    for choice, words in (
        ("nowhere.py:Rule", "there is no file"),
        ("json:Rule", "json has no Rule"),
        ("json:dumps", "needs a type"),
        ("sgdd", "unknown rule 'sgdd'"),
    ):
        refused(run("train", "navigation", "--rule", choice, "--run-dir", "run"), words)
    assert not Path("run").exists()
    assert "broken_part" not in sys.modules


def test_parameters_of_another_network_are_refused(tmp_path: Path) -> None:
    first = run("train", "navigation", *TOY, "--run-dir", tmp_path / "one")
    assert first.returncode == 0, first.stderr
    own = ("--policy", f"{EXAMPLES / 'own_policy.py'}:Net", "--width", "5")
    start = ("--initial-parameters", str(tmp_path / "one"))
    refused(run("train", "navigation", *own, *toy("--policy"), *start, "--run-dir", tmp_path / "two"), "network")
