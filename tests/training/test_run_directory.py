import json
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from bowl import Bowl, roll
from built_from_config import changed, make_outer, make_problem
from toy import TOY

from metarl.training import checkpoint
from metarl.training.checkpoint import load, save
from metarl.training.config import Config
from metarl.training.run_directory import claimed, identity_of, plain_identity, read_config, versions_of
from metarl.training.runs import train
from metarl.training.state import TrainState


def claim(run_dir: Path, config: Config, *, resume: bool) -> TrainState | None:
    with claimed(run_dir, identity_of(config), resume=resume) as state:
        return state


def test_a_fresh_directory_gets_the_whole_configuration(tmp_path: Path) -> None:
    assert claim(tmp_path / "new" / "run", TOY, resume=False) is None
    document = json.loads((tmp_path / "new" / "run" / "config.json").read_text())
    assert document["config"] == TOY.to_dict()
    assert set(document["versions"]) >= {"torch", "metarl", "gymnasium"}
    assert "git_commit" in document
    assert read_config(tmp_path / "new" / "run") == TOY


def test_another_run_is_never_overwritten(tmp_path: Path) -> None:
    claim(tmp_path, TOY, resume=False)
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(ValueError, match="already holds a run: add --resume"):
        claim(tmp_path, TOY, resume=False)
    with pytest.raises(ValueError, match="another configuration: seed is 1 there and 2 here"):
        claim(tmp_path, changed(TOY, seed=2), resume=True)
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_run_killed_while_it_wrote_its_configuration_starts_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".config.json.0123abcd.tmp").write_text("{")
    with pytest.warns(UserWarning, match="holds no run to go on with: a new one begins"):
        assert claim(tmp_path, TOY, resume=True) is None
    assert read_config(tmp_path) == TOY


def test_resume_before_the_first_checkpoint_starts_again(tmp_path: Path) -> None:
    claim(tmp_path, TOY, resume=False)
    assert claim(tmp_path, TOY, resume=True) is None


def test_what_is_no_part_of_the_numbers_may_change(tmp_path: Path) -> None:
    claim(tmp_path, TOY, resume=False)
    assert claim(tmp_path, changed(TOY, iterations=9, evaluation_tasks=7), resume=True) is None


def test_a_resumed_run_says_how_long_it_is_now(tmp_path: Path) -> None:
    def train_as(config: Config, *, resume: bool = False) -> TrainState:
        problem, outer, identity = make_problem(config), make_outer(config), identity_of(config)
        return train(
            problem, outer, run_dir=tmp_path, iterations=config.iterations, sinks=[], resume=resume, config=identity
        )

    train_as(TOY)
    before = json.loads((tmp_path / "config.json").read_text())
    longer = changed(TOY, iterations=5)
    state = train_as(longer, resume=True)
    after = json.loads((tmp_path / "config.json").read_text())
    assert (state.config["iterations"], after["config"]["iterations"]) == (5, 5)
    assert after | {"config": before["config"]} == before


def test_foreign_directories_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        claim(tmp_path, TOY, resume=False)
    with pytest.raises(ValueError, match="is a file; a run needs a directory"):
        claim(tmp_path / "thesis.tex", TOY, resume=False)
    with pytest.raises(ValueError, match="holds no run"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{]")
    with pytest.raises(ValueError, match="is not a configuration of metarl"):
        read_config(tmp_path)


def test_a_link_to_nowhere_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "gone")
    with (
        pytest.raises(ValueError, match=f"run is a link to nowhere, {tmp_path / 'gone'}; a run needs a directory"),
        claimed(tmp_path / "run", plain_identity({}), resume=False),
    ):
        pass


def test_a_place_without_a_run_says_what_it_is(tmp_path: Path) -> None:
    for name in ("one", "other", "third", "fourth"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config.json in it; in it, fourth, one, other and 1 more hold one"):
        read_config(tmp_path)
    with pytest.raises(ValueError, match=f"holds no run: it is a file; {tmp_path / 'one'} holds one"):
        read_config(tmp_path / "one" / "config.json")
    with pytest.raises(ValueError, match=r"config.json is not a configuration of metarl: it has no object 'config'"):
        read_config(tmp_path / "one")


@pytest.mark.parametrize("name", ["checkpoint.pt", "checkpoint.previous.pt", "best.pt"])
def test_a_checkpoint_of_a_newer_version_is_never_replaced(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(Bowl(), roll(), run_dir=tmp_path, iterations=3, sinks=[])
    state = load(tmp_path / name)
    with monkeypatch.context() as newer:
        newer.setattr(checkpoint, "FORMAT", "metarl-checkpoint-9")
        save(tmp_path / name, state)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=rf"{name} was written by a newer version of metarl \(format 9"):
        train(Bowl(), roll(), run_dir=tmp_path, iterations=5, sinks=[], resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_package_that_is_missing_at_first_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    installed: dict[str, str] = {}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("importlib.metadata.version", version)
    assert versions_of("late") == {}
    installed["late"] = "1.0"
    assert versions_of("late") == {"late": "1.0"}
