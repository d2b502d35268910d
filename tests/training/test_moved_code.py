"""Files of the user's that a run names, moved or changed since it began."""

import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import pytest
from scripts import ROOT, TOY, refused, run

from metarl.rl.environments import ENVIRONMENTS
from metarl.rl.policies import POLICIES
from metarl.training.run_directory import claimed, plain_identity

pytestmark = pytest.mark.usefixtures("undrawn")

NET = """from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, observation_size: int, action_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(observation_size, 3), nn.Tanh(), nn.Linear(3, action_size))

    def forward(self, observations: Tensor) -> Tensor:
        return self.layers(observations)
"""

ENVIRONMENT = """import gymnasium

from own_environment import RodPendulum


class Rod(RodPendulum):
    pass


gymnasium.register("MovedRod-v0", entry_point=f"{__name__}:Rod", max_episode_steps=5)
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run with a policy in a file of one's own, which no process has read since; its directory."""
    (tmp_path / "moved_net.py").write_text(NET)
    i = TOY.index("--hidden-sizes")
    policy = ["--policy", f"{tmp_path / 'moved_net.py'}:Net"]
    done = run("train", "navigation", *TOY[:i], *TOY[i + 2 :], *policy, "--run-dir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(POLICIES, "_found", {})
    del sys.modules["moved_net"]
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path / "run"
    sys.modules.pop("moved_net", None)


def test_a_file_that_has_moved_is_found_by_its_name(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing could be done with the run but to edit config.json and every checkpoint."""
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "moved_net.py", tmp_path / "elsewhere" / "moved_net.py")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder != str(tmp_path)])
    refused(run("evaluate", own), "there is no file", "in this folder or on PYTHONPATH: put it there")
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = run("train", "--resume", "--run-dir", own, "--iterations", "3")
    assert done.returncode == 0, done.stderr
    assert f"there is no file {tmp_path / 'moved_net.py'} any more" in done.stderr
    assert done.stderr.count("elsewhere/moved_net.py is taken") == 1


def test_the_new_place_of_a_file_is_the_same_choice(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another configuration, it was refused: nobody could tell a run where its file is."""
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "moved_net.py"
    shutil.move(tmp_path / "moved_net.py", file)
    here = ["--policy", f"{file}:Net"]
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = run("train", "--resume", "--run-dir", own, *here, "--iterations", "3")
    assert done.returncode == 0, done.stderr
    stored = json.loads((own / "config.json").read_text())
    assert f"{file}:Net" in json.dumps(stored["config"])
    assert len(set(stored["code"].values())) == 1
    assert list(stored["code"]) == [str(file), str(tmp_path / "moved_net.py")]
    # The best parameters may be from before, and name the old place.
    done = run("evaluate", own)
    assert done.returncode == 0, done.stderr
    file.write_text(NET.replace("Tanh", "ReLU"))
    done = run("train", "--resume", "--run-dir", own, "--iterations", "4")
    assert f"{file} has changed since {own} began" in done.stderr


def test_the_new_place_of_a_file_that_has_changed_is_another_choice(own: Path, tmp_path: Path) -> None:
    """Only its content says that it is the same file."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moved_net.py").unlink()
    file = tmp_path / "elsewhere" / "moved_net.py"
    file.write_text(NET.replace("Tanh", "ReLU"))
    sys.path.append(str(file.parent))
    done = run("train", "--resume", "--run-dir", own, "--policy", f"{file}:Net")
    refused(done, "belongs to another configuration: policy is", f"{file}:Net here")


def test_a_file_that_has_changed_is_told(own: Path, tmp_path: Path) -> None:
    """Another activation has parameters of the same shapes, and a resume went on with it in silence."""
    assert list(json.loads((own / "config.json").read_text())["code"]) == [str(tmp_path / "moved_net.py")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = run("train", "--resume", "--run-dir", own, "--iterations", "3")
    assert "has changed since" not in done.stderr
    (tmp_path / "moved_net.py").write_text(NET.replace("Tanh", "ReLU"))
    done = run("train", "--resume", "--run-dir", own, "--iterations", "4")
    assert f"moved_net.py has changed since {own} began: what it computes may be another" in done.stderr
    assert done.returncode == 0


def test_a_file_in_a_folder_of_any_name_has_its_digest_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON has other characters for these, and a change of the file was not told."""
    file = tmp_path / 'müller\\"s"' / "noted_net.py"
    file.parent.mkdir()
    file.write_text(NET)
    monkeypatch.setattr(sys, "path", [*sys.path])
    POLICIES.find(f"{file}:Net")
    sys.modules.pop("noted_net")
    for chosen, noted in ((file, [str(file)]), (tmp_path / "other.py", [])):
        identity = plain_identity({"policy": {"name": f"{chosen}:Net"}})
        run_dir = tmp_path / str(len(noted))
        with claimed(run_dir, identity, resume=False):
            assert list(json.loads((run_dir / "config.json").read_text())["code"]) == noted


@pytest.mark.parametrize("name", ["Rod", "MovedRod-v0"])
def test_worker_processes_find_a_file_that_has_moved(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them ended with a traceback, although the process that started them had found the file."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "examples")])
    (tmp_path / "moved_rod.py").write_text(ENVIRONMENT)
    part = ENVIRONMENTS.find(f"{tmp_path / 'moved_rod.py'}:{name}")()
    pickled = pickle.dumps(part)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "moved_rod.py", tmp_path / "elsewhere" / "moved_rod.py")
    # As in a process that starts in that folder.
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(ENVIRONMENTS, "_found", {})
    del sys.modules["moved_rod"], gymnasium.registry["MovedRod-v0"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the first process has told
        again = pickle.loads(pickled)
    assert again.build(1, horizon=5).num_envs == 1
    assert Path(str(sys.modules.pop("moved_rod").__file__)).parent == tmp_path / "elsewhere"
    gymnasium.registry.pop("MovedRod-v0")
