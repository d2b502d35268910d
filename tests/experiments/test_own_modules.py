"""Modules, names and options that users name on the command line."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts import TOY, refused, run

from metarl.experiments.presets.configuration import preset_config
from metarl.experiments.presets.training_arguments import parse
from metarl.rl.environments import ENVIRONMENTS
from metarl.training.tree import differences, with_options
from metarl.user_code import named

NEEDY = """
import gymnasium
from gymnasium.spaces import Discrete
from examples.pendulum import GravityPendulum

class Needy(GravityPendulum):
    def __init__(self, size, *, discrete=False):
        super().__init__()
        self.size = size + 0
        if discrete:
            self.action_space = Discrete(3)

    class Within(GravityPendulum):
        pass

class Blind(gymnasium.Env):
    pass

class Mistaken(GravityPendulum):
    def __init__(self):
        self.begin()

    def begin(self, size):
        pass
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the user's; the modules and the path are as before afterwards."""
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def options_of(*words: str) -> Any:
    """The environment and the policy that a command line chooses."""
    return parse(["custom", *words]).config.problem


def test_an_environment_whose_options_must_be_given(here: Path) -> None:
    (here / "needy.py").write_text(NEEDY)
    chosen = options_of("--environment-options", "size", "3", "--environment", "needy.py:Needy", "--horizon", "5")
    assert chosen.environment.environment_options == {"size": 3}
    assert chosen.horizon == 5
    with pytest.raises(ValueError, match=r"'needy:Needy' needs the option 'size': --environment-options size VALUE"):
        options_of("--environment", "needy.py:Needy")
    with pytest.raises(ValueError, match="needy:Needy draws nothing: its constructor takes no render_mode"):
        chosen.environment.build(1, horizon=5, render_mode="rgb_array")
    with pytest.raises(ValueError, match="needy:Blind draws nothing: its constructor takes no render_mode"):
        ENVIRONMENTS.find("needy.py:Blind")().build(1, horizon=5, render_mode="rgb_array")
    with pytest.raises(ValueError, match=r"needy\.py has no Needly; did you mean Needy\?"):
        options_of("--environment", "needy.py:Needly")
    with pytest.raises(TypeError, match=r"begin.. missing 1 required positional argument"):  # the user's own mistake
        options_of("--environment", "needy.py:Mistaken")


def test_the_policy_fits_the_environment_with_its_options(here: Path) -> None:
    (here / "needy.py").write_text(NEEDY)
    for given, policy in (((), "gaussian_mlp"), (("discrete", "True"), "categorical_mlp")):
        words = ("--environment", "needy.py:Needy", "--environment-options", "size", "3", *given)
        config = parse(["custom", *words, "--hidden-sizes", "4"]).config
        stored = config.to_dict()["problem"]["policy"]
        assert (stored["name"], list(stored["hidden_sizes"])) == (policy, [4])


def test_options_that_are_given_again_at_a_resume(here: Path) -> None:
    (here / "needy.py").write_text(NEEDY)
    command = ["train", "--run-dir", here / "run", *TOY[: TOY.index("--evaluation-tasks")]]
    begin = [*command[:1], "custom", "--environment", "needy.py:Needy", *command[1:]]
    assert run(*begin, "--environment-options", "size", "3").returncode == 0
    longer = [*command, "--resume", "--iterations", "3", "--environment-options", "size"]
    refused(run(*longer, "4"), "environment_options is {'size': 3} there and {'size': 4} here")
    again = run(*longer, "3")
    assert again.returncode == 0, again.stderr


def test_nan_is_the_same_nan_at_a_resume() -> None:
    def with_limits(**values: float) -> Any:
        config = preset_config("custom", choices={"environment": "examples.pendulum:GravityPendulum-v0"})
        return with_options(config, {"environment_options": values})

    one = with_limits(g=math.nan, m=math.inf)
    stored = type(one).from_dict(json.loads(json.dumps(one.to_dict())))
    assert differences(stored, one) == []
    assert len(differences(with_limits(g=1.0, m=math.inf), one)) == 1
    assert len(differences(with_limits(g=math.nan), one)) == 1


def test_a_name_within_a_class(here: Path) -> None:
    (here / "needy.py").write_text(NEEDY)
    assert named("environment", "needy.py:Needy.Within").__qualname__ == "Needy.Within"
    assert ENVIRONMENTS.find("needy:Needy.Within")().build(1, horizon=3).num_envs == 1
    with pytest.raises(ValueError, match=r"Needy has no Beyond; it has .*Within"):
        ENVIRONMENTS.find("needy:Needy.Beyond")
    for choice in (":Needy", "needy.py:"):
        with pytest.raises(ValueError, match=r"environment must be MODULE:NAME, such as mine.py:Mine; got"):
            ENVIRONMENTS.find(choice)


def test_a_file_finds_its_neighbours(here: Path) -> None:
    (here / "mine").mkdir()
    (here / "mine" / "neighbour.py").write_text(NEEDY)
    (here / "mine" / "house.py").write_text("from neighbour import Needy\n")
    assert named("environment", "mine/house.py:Needy").__module__ == "neighbour"


@pytest.mark.parametrize("name", ["json", "metarl", "torch"])
def test_a_package_of_a_name_that_is_taken(name: str, here: Path) -> None:
    """It is there, so that the question whether it is would not help."""
    (here / name).mkdir()
    (here / name / "__init__.py").touch()
    (here / name / "own.py").write_text(NEEDY)
    with pytest.raises(ValueError, match=rf"'{name}' is .*__init__.py here: give the one in this folder another name"):
        named("environment", f"{name}.own:Needy")
    with pytest.raises(ValueError, match=r"is it in this folder, installed, or on PYTHONPATH\?"):
        named("environment", "xml.own:Needy")


@pytest.mark.parametrize("end", ["sys.exit(0)", "sys.exit(3)", "raise SystemExit('bye')", "quit()"])
def test_a_module_that_exits(end: str, here: Path) -> None:
    (here / "leaving.py").write_text(f"import sys\n{end}\n")
    with pytest.raises(RuntimeError, match=r"something that the command line names called sys\.exit") as error:
        run("train", "custom", "--environment", "leaving.py:Needy")
    assert isinstance(error.value.__cause__, SystemExit)


def test_what_a_module_says_is_seen(here: Path) -> None:
    (here / "talking.py").write_text(f"import sys\nprint('hello', file=sys.stderr)\n{NEEDY}")
    result = run("train", "custom", "--environment", "talking.py:Needy.Within", *TOY, "--method", "random")
    assert result.returncode == 0
    assert "hello" in result.stderr.splitlines()
