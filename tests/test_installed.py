"""The installed package: what the wheel holds, and that folders beside a user's script do not matter to it."""

import tomllib
import zipfile
from pathlib import Path

import pytest
from scripts import ROOT
from wheel import Installed, install

from metarl.experiments.demo import RESULTS, SHIPPED

FOREIGN = "raise RuntimeError('a module of the user, which nobody else should import')\n"
SCRIPT = """
import gymnasium, importlib, sys
import metarl, metarl.envs
from metarl.experiments.presets.configuration import preset_config

assert metarl.__file__.startswith(sys.argv[1]), metarl.__file__
config = preset_config("navigation", "maml", {})
problem = config.problem.build(config.setting())
print(problem.sample_tasks(1, 1, count=2).shape)
env = gymnasium.make("metarl/HalfCheetahDir-v0")
print(env.reset(seed=0)[0].shape)
assert not {"envs", "experiments"} & set(sys.modules)
for own in ("envs", "experiments"):
    try:
        importlib.import_module(own).robots
    except (RuntimeError, AttributeError):
        print(own, "is the user's")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("installed"))


def test_the_wheel_holds_one_package_with_its_data(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        assert {name.split("/")[0] for name in names} == {"metarl", f"metarl-{version}.dist-info"}
        assert archive.read(f"metarl-{version}.dist-info/top_level.txt").split() == [b"metarl"]
    data = {name for name in names if name.startswith("metarl/") and not name.endswith(".py")}
    shipped = {path for run in SHIPPED.values() for path in (RESULTS / run).iterdir()}
    policies = {f"metarl/experiments/{path.relative_to(RESULTS.parent).as_posix()}" for path in shipped}
    assert len(policies) > len(SHIPPED)
    assert data == {"metarl/py.typed", "metarl/experiments/presets/published_returns.csv", *policies}
    for folder in ("metarl", "envs", "experiments"):
        here = [path for path in (ROOT / folder).rglob("*.py") if "results" not in path.parts]
        prefix = "" if folder == "metarl" else "metarl/"
        assert {f"{prefix}{path.relative_to(ROOT).as_posix()}" for path in here} <= set(names)


def test_folders_beside_the_users_script_break_nothing(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "experiments").mkdir()
    for module in ("__init__", "presets", "train", "console"):
        (tmp_path / "experiments" / f"{module}.py").write_text(FOREIGN)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = installed.start(f"python script.py '{installed.site}'", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["(2, 2)", "(17,)", "envs is the user's", "experiments is the user's"]


def test_the_command_says_its_version(installed: Installed, tmp_path: Path) -> None:
    done = installed.start("metarl --version", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
