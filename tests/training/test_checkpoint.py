import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl.training.checkpoint import FORMAT, load, save
from metarl.training.state import TrainState

STATE = TrainState(
    config={"preset": "navigation", "sizes": [1, 2]},
    iteration=7,
    theta={"weight": torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), "bias": torch.zeros(3)},
    outer_state={"step": torch.tensor(7.0, dtype=torch.float64)},
    best_score=-float("inf"),
)


def test_round_trip_is_bitwise(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", STATE)
    back = load(tmp_path / "a.pt")
    assert (back.config, back.iteration, back.best_score) == (STATE.config, STATE.iteration, STATE.best_score)
    for group in ("theta", "outer_state"):
        for name, leaf in getattr(STATE, group).items():
            assert torch.equal(getattr(back, group)[name], leaf)
            assert getattr(back, group)[name].dtype == leaf.dtype


def test_same_state_same_bytes_under_any_name(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", STATE)
    save(tmp_path / "another.pt", load(tmp_path / "a.pt"))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another.pt").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "another.pt"]  # no temporary file is left


@pytest.mark.parametrize("keep", [0, 10, 500, -1])
def test_truncated_files_are_named(tmp_path: Path, keep: int) -> None:
    save(tmp_path / "a.pt", STATE)
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole[:keep])
    with pytest.raises(ValueError, match=r"a\.pt is (not a readable checkpoint|damaged)"):
        load(tmp_path / "a.pt")


def test_a_flipped_bit_in_the_parameters_is_found(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", STATE)
    whole = bytearray((tmp_path / "a.pt").read_bytes())
    at = whole.find(STATE.theta["weight"].numpy().tobytes())
    assert at > 0
    whole[at] ^= 1
    (tmp_path / "a.pt").write_bytes(whole)
    with pytest.raises(ValueError, match=r"a\.pt is (not a readable checkpoint|damaged)"):
        load(tmp_path / "a.pt")


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_foreign_and_hostile_files_are_refused_without_running_them(tmp_path: Path) -> None:
    path, trap = tmp_path / "a.pt", tmp_path / "executed"
    ours = {"format": FORMAT}
    for content in ({"state_dict": {}}, [1, 2], Hostile(trap), {"theta": Hostile(trap)}, ours, ours | {"theta": 1}):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"a\.pt is not a"):
            load(path)
        path.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=r"a\.pt is not a"):
            load(path)
    assert not trap.exists()
    with pytest.raises(ValueError, match="no checkpoint at"):
        load(tmp_path / "missing.pt")


def test_a_failed_write_leaves_the_old_checkpoint_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    save(path, STATE)
    before = path.read_bytes()
    monkeypatch.setattr("secrets.token_hex", lambda size: "taken")
    (tmp_path / ".a.pt.taken.tmp").mkdir()  # the temporary file cannot be opened
    with pytest.raises(OSError, match=r"a\.pt"):
        save(path, STATE._replace(iteration=8))
    assert path.read_bytes() == before
