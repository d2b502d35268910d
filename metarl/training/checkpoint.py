"""Checkpoints: written atomically, verified by a checksum, loaded without executing code."""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metarl.engine.params import Params
from metarl.files import write_atomically
from metarl.training.migration import format_2

FORMAT = "metarl-checkpoint-2"  # the format that is written
MIGRATIONS = {"metarl-checkpoint-1": format_2}  # an earlier format -> what makes FORMAT's content of one of that
DAMAGED = (  # what reading damaged bytes has been seen to raise: the archive, the unpickler, torch's rebuilding
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError),
    *(RuntimeError, TypeError, ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile),
)


class Checkpoint(NamedTuple):
    """The whole state of a run after `iteration` outer steps. The same state is always the same bytes."""

    config: dict[str, Any]  # Config.to_dict()
    iteration: int  # outer steps done
    theta: Params
    outer_state: dict[str, Tensor]
    best_score: float  # of best.pt so far; -inf before the first iteration
    env_steps: float = 0.0  # environment steps taken since the start; 0 for supervised problems


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write to a temporary file beside `path`, flush it to disk, rename: `path` is always whole.

    Raises OSError if the directory cannot be written; an older checkpoint then stays as it was.
    """
    write_atomically(path, encode(checkpoint))


def encode(checkpoint: Checkpoint) -> bytes:
    """The content of a checkpoint's file."""
    content: dict[str, Any] = {**checkpoint._asdict(), "format": FORMAT}
    content["theta"] = {name: leaf.cpu() for name, leaf in checkpoint.theta.items()}
    content["outer_state"] = {name: leaf.cpu() for name, leaf in checkpoint.outer_state.items()}
    content["checksum"] = _checksum(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def load(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        ValueError: the file is missing, or see `decode`.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    return decode(path.read_bytes(), path)


def decode(data: bytes, path: Path) -> Checkpoint:
    """The inverse of `encode`, with `weights_only=True`: tensors and plain values alone.

    Args:
        data: content of a file.
        path: where it comes from, for messages.

    Raises:
        ValueError: truncated, damaged, or not a checkpoint of metarl.
    """
    try:
        if not zipfile.is_zipfile(io.BytesIO(data)):
            raise zipfile.BadZipFile("no zip archive")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path} is not a readable checkpoint: truncated, damaged or foreign ({reason[:120]})"
        ) from error
    if not isinstance(content, dict) or content.get("format") not in (FORMAT, *MIGRATIONS):
        raise ValueError(f"{path} is not a checkpoint of metarl (expected format {FORMAT!r})")
    if set(content) != {*Checkpoint._fields, "format", "checksum"} or not all(
        isinstance(content[group], dict) and all(isinstance(leaf, Tensor) for leaf in content[group].values())
        for group in ("theta", "outer_state")
    ):
        raise ValueError(f"{path} is not a checkpoint of this version of metarl: its fields differ")
    try:
        whole = content.pop("checksum", None) == _checksum(content)
    except (TypeError, RuntimeError):  # values that are no plain ones, tensors that are no plain ones
        whole = False
    if not whole:
        raise ValueError(f"{path} is damaged: its checksum does not match its content")
    migrate = MIGRATIONS.get(content.pop("format"))
    return Checkpoint(**(migrate(content) if migrate else content))


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 over every value but the checksum itself: plain values as JSON, tensors as their bytes."""
    digest = hashlib.sha256()
    plain = {name: value for name, value in content.items() if name not in ("theta", "outer_state", "checksum")}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for group in ("theta", "outer_state"):
        for name, leaf in content[group].items():
            digest.update(f"{group}/{name} {leaf.dtype} {tuple(leaf.shape)}".encode())
            digest.update(leaf.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
