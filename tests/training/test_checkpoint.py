import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from scripts import ROOT

from metarl.training import checkpoint
from metarl.training.checkpoint import FORMAT, NewerFormatError, decode, encode, load, save
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


def stored(change: dict[str, Any]) -> bytes:
    """A file with a right checksum and other content than a checkpoint should have."""
    content = torch.load(io.BytesIO(encode(STATE)), weights_only=True) | change
    content.pop("checksum")
    content["checksum"] = checkpoint._checksum(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"iteration": "x"}, "iteration must be a whole number, at least 0; got 'x'"),
        ({"iteration": -3}, "iteration must be a whole number, at least 0; got '-3'"),
        ({"iteration": True}, "iteration must be a whole number"),
        ({"best_score": None}, "best_score must be a number; got 'None'"),
        ({"best_score": float("nan")}, "best_score must be a number"),
        ({"env_steps": -1.0}, "env_steps must be a finite number"),
        ({"config": [1]}, "config must be plain values by name"),
        ({"theta": [1]}, "theta must be tensors by name"),
        ({"theta": {"a": 1}}, "theta/a must be a dense tensor; got int"),
        ({"theta": {"a": torch.eye(2).to_sparse()}}, "names torch._utils _rebuild_sparse_tensor"),
        ({"theta": {1: torch.eye(2)}}, "theta/1 must be a dense tensor"),
        ({"more": 1}, "its fields differ: more"),
    ],
)
def test_wrong_content_with_a_right_checksum_is_one_clear_line(change: dict[str, Any], words: str) -> None:
    try:
        data = stored(change)
    except (TypeError, RuntimeError, AttributeError, ValueError):  # there is no checksum of such a content
        buffer = io.BytesIO()
        torch.save(torch.load(io.BytesIO(encode(STATE)), weights_only=True) | change, buffer)
        data = buffer.getvalue()
    with pytest.raises(ValueError, match=words) as caught:
        decode(data, Path("a.pt"))
    assert "\n" not in str(caught.value) and str(caught.value).startswith("a.pt ")


def test_what_a_file_unpacks_to_is_bounded_before_it_is_unpacked() -> None:
    """Compressed zeros, a tensor that repeats one value, and a list that names itself twice, thirty times over."""
    packed, plain = io.BytesIO(), zipfile.ZipFile(io.BytesIO(encode(STATE)))
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in plain.infolist():
            archive.writestr(entry.filename, plain.read(entry))
        archive.writestr("archive/data/9", bytes(10**7))
    assert len(packed.getvalue()) < 10**5
    with pytest.raises(ValueError, match="its content is compressed"):
        decode(packed.getvalue(), Path("a.pt"))

    content = torch.load(io.BytesIO(encode(STATE)), weights_only=True)
    doubled: list[Any] = [1]
    for _ in range(30):
        doubled = [doubled, doubled]
    for change, words in (
        ({"theta": {"a": torch.zeros(1).expand(10**12)}}, "theta/a would be larger than what is stored of it"),
        ({"config": {"a": doubled}}, "config has more than 100000 values"),
    ):
        buffer = io.BytesIO()
        torch.save(content | change, buffer)
        with pytest.raises(ValueError, match=words):
            decode(buffer.getvalue(), Path("a.pt"))


def test_an_archive_that_claims_more_than_it_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = zipfile.ZipInfo("a")
    entry.file_size = 10**9
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda archive: [entry])
    with pytest.raises(ValueError, match="it would unpack to more than it holds"):
        decode(encode(STATE), Path("a.pt"))


def test_a_view_of_a_large_tensor_is_stored_alone() -> None:
    large = torch.arange(10**6, dtype=torch.float32)
    data = encode(STATE._replace(theta={"a": large[10:13]}))
    assert len(data) < 10**4
    assert torch.equal(decode(data, Path("a.pt")).theta["a"], torch.tensor([10.0, 11.0, 12.0]))


def test_a_newer_format_is_named() -> None:
    data = stored({"format": "metarl-checkpoint-7", "something": "new"})
    with pytest.raises(NewerFormatError, match=r"a\.pt was written by a newer version of metarl \(format 7, this one"):
        decode(data, Path("a.pt"))


def test_earlier_formats_are_migrated_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data = stored({"format": "metarl-checkpoint-1"})
    monkeypatch.setattr(checkpoint, "NUMBER", 3)
    migrations = {
        1: lambda content: content | {"theta": {f"body.{name}": leaf for name, leaf in content["theta"].items()}},
        2: lambda content: content | {"env_steps": content["env_steps"] + 5},
    }
    monkeypatch.setattr(checkpoint, "MIGRATIONS", migrations)
    state = decode(data, Path("a.pt"))
    assert (list(state.theta), state.env_steps) == (["body.weight", "body.bias"], 5)


def test_published_checkpoints_are_read() -> None:
    paths = sorted((ROOT / "experiments" / "results").glob("*/*/*.pt"))
    assert len(paths) > 5
    for path in paths[::5]:
        assert load(path).theta


def test_a_pickle_that_makes_memory_of_a_number_is_refused_before_it_is_read() -> None:
    """torch admits `bytearray` among plain values: a file of 1 KB would take 2 GB."""
    number = b"\x8a\x05" + (2**31).to_bytes(5, "little")
    code = b"\x80\x02cbuiltins\nbytearray\n" + number + b"\x85R."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", code)
    for data, words in ((buffer.getvalue(), "it names builtins bytearray"), (code + buffer.getvalue(), "no archive")):
        with pytest.raises(ValueError, match=f"is not a readable checkpoint: .*{words}"):
            decode(data, Path("bomb.pt"))
