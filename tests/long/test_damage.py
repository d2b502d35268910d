"""1,000 damaged files for evaluate, render and resume: a clear error or a correct fallback, and nothing is lost."""

import io
import json
import pickle
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from scripts import TOY, Result, in_a_process, run

from metarl.training.checkpoint import decode, encode, load

FILES = ("checkpoint.pt", "checkpoint.previous.pt", "best.pt", "config.json", "metrics.csv")
DAMAGES = 1_000
COMMANDS = 20


class Hostile:
    """Unpickled, it would leave a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return Path.touch, (self.mark,)


def damaged(content: bytes, draw: random.Random, mark: Path) -> tuple[str, bytes]:
    kind = draw.choice(["bits", "bits", "truncated", "empty", "foreign", "hostile", "zeros", "swapped", "deep"])
    if kind == "bits":
        changed = bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 8, 64])):
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        return kind, bytes(changed)
    if kind == "truncated":
        return kind, content[: draw.randrange(len(content))]
    if kind == "zeros":  # as a file system may leave the end of a file after a power cut
        start = draw.randrange(len(content))
        return kind, content[:start] + bytes(len(content) - start)
    if kind == "swapped":
        cut = draw.randrange(len(content))
        return kind, content[cut:] + content[:cut]
    return kind, {
        "empty": b"",
        "foreign": draw.choice([b"PK\x05\x06" + bytes(18), b"\x89PNG\r\n", b"{}", b"null", b"[]", b"\xff\xfe\x00"]),
        "hostile": hostile(content, draw, mark),
        "deep": b"[" * 100_000,
    }[kind]


def hostile(content: bytes, draw: random.Random, mark: Path) -> bytes:
    """A pickle; such a one as torch saves; a checkpoint with one for a field, or with a word for a number."""
    kind = draw.choice(["pickle", "archive", "field", "word"])
    if kind == "pickle" or not zipfile.is_zipfile(io.BytesIO(content)):
        return pickle.dumps(Hostile(mark))
    if kind == "word":
        state = decode(content, Path("checkpoint"))
        return encode(state._replace(iteration=draw.choice(["x", None, -3, 1e300, [1]])))
    saved = io.BytesIO()
    whole = torch.load(io.BytesIO(content), weights_only=True)
    torch.save(Hostile(mark) if kind == "archive" else whole | {"best_score": Hostile(mark)}, saved)
    return saved.getvalue()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("original") / "run"
    assert run("train", "navigation", *TOY, "--run-dir", run_dir).returncode == 0
    return run_dir


def command(name: str, run_dir: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    return {
        "evaluate": ("evaluate", run_dir, "--checkpoint", "last", "--tasks", "1", "--output", tmp_path / "scores"),
        "best": ("evaluate", run_dir, "--tasks", "1", "--gradient-steps", "0", "--output", tmp_path / "scores"),
        "render": ("render", run_dir, "--gradient-steps", "0", "--height", "32", "--output", tmp_path / "film.png"),
        "resume": ("train", "navigation", *TOY, "--iterations", "3", "--resume", "--run-dir", run_dir),
    }[name]


def judge(result: Result, before: dict[str, bytes], run_dir: Path, words: str, resumed: bool) -> str:
    """What became of it; raises AssertionError unless that is in order."""
    assert "Traceback" not in result.stderr, f"{words}: {result.stderr}"
    if result.returncode == 0:
        assert not resumed or load(run_dir / "checkpoint.pt").iteration == 3, words
        return "fell back" if "warning: " in result.stderr else "not needed, or harmless"
    assert result.returncode == 2, f"{words}: {result.stderr}"
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, f"{words}: {result.stderr}"
    after = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
    assert {name: after.get(name) for name in before} == before, f"{words}: something was overwritten"
    return "refused"


def test_damaged_files(original: Path, tmp_path: Path) -> None:
    draw, tally = random.Random(1), {}
    mark = tmp_path / "executed"
    for number in range(DAMAGES):
        run_dir = shutil.copytree(original, tmp_path / "run")
        file, name = draw.choice(FILES), draw.choice(["evaluate", "best", "render", "resume"])
        kind, content = damaged((run_dir / file).read_bytes(), draw, mark)
        (run_dir / file).write_bytes(content)
        if draw.random() < 0.2:  # another one, too
            other = draw.choice(FILES)
            (run_dir / other).write_bytes(damaged((original / other).read_bytes(), draw, mark)[1])
        before = {path.name: path.read_bytes() for path in run_dir.iterdir() if path.is_file()}
        call = in_a_process if number % (DAMAGES // COMMANDS) == 0 else run
        result = call(*map(str, command(name, run_dir, tmp_path)))
        outcome = judge(result, before, run_dir, f"{number}: {name} after {kind} in {file}", name == "resume")
        tally[outcome] = tally.get(outcome, 0) + 1
        assert not mark.exists(), f"{number}: {file} was executed"
        shutil.rmtree(run_dir)
    print(json.dumps(tally))
    assert tally["refused"] > 300 and tally["fell back"] > 20
