"""Checkpoints: written atomically, verified by a checksum, loaded without executing code."""

import hashlib
import io
import json
import math
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl.arguments import require
from metarl.files import write_atomically
from metarl.reading import DAMAGED
from metarl.training.migration import format_2
from metarl.training.state import TrainState

PREFIX = "metarl-checkpoint-"
NUMBER = 2
FORMAT = f"{PREFIX}{NUMBER}"  # the format that is written
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: format_2}
"""Number of an earlier format -> a function from a content of that format to a content of the next one."""

GROUPS = ("theta", "outer_state")  # fields that are tensors by name
NAMES = re.compile(r"collections OrderedDict|torch \w+Storage|torch\._utils _rebuild_tensor_v2")  # in its pickle
NAMING = {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}  # operations that name something of Python's
MOST_VALUES = 100_000  # plain values of a checkpoint's configuration


class NewerFormatError(ValueError):
    """The checkpoint was written by a later version of metarl: it is whole, and must not be replaced."""


def save(path: Path, state: TrainState) -> None:
    """Write to a temporary file beside `path`, flush it to disk, rename: `path` is always whole.

    Raises OSError if the directory cannot be written; an older checkpoint then stays as it was.
    """
    write_atomically(path, encode(state))


def encode(state: TrainState) -> bytes:
    """Make the content of a checkpoint's file: equal states give equal bytes."""
    content: dict[str, Any] = {
        "config": state.config,
        "iteration": state.iteration,
        "theta": {name: _stored(leaf) for name, leaf in state.theta.items()},
        "outer_state": {name: _stored(leaf) for name, leaf in state.outer_state.items()},
        "best_score": state.best_score,
        "env_steps": state.env_steps,
        "format": FORMAT,
    }
    content["checksum"] = _checksum(content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _stored(leaf: Tensor) -> Tensor:
    """The tensor on the CPU, with a storage of its own size."""
    leaf = leaf.detach().cpu()
    # torch.save writes whole storages, of which a view may be a small part.
    return leaf if leaf.untyped_storage().nbytes() == leaf.nbytes else leaf.clone()


def load(path: Path) -> TrainState:
    """Read a checkpoint.

    Raises:
        ValueError: the file is missing, damaged or not a checkpoint; see `decode`.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    return decode(path.read_bytes(), path)


def decode(data: bytes, path: Path) -> TrainState:
    """The inverse of `encode`, with `weights_only=True`: tensors and plain values alone.

    Args:
        data: content of a file, of this format or an earlier one.
        path: the file, for messages.

    Raises:
        NewerFormatError: a later version of metarl wrote it.
        ValueError: it is truncated, damaged, or not a checkpoint of metarl.
    """
    try:
        _require_bounded(data)
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise ValueError(
            f"{path} is not a readable checkpoint: truncated, damaged or foreign ({_first_line(error)[:120]})"
        ) from error
    number = _format_number(content, path)
    try:
        _require_fields(content)
        whole = content.pop("checksum") == _checksum(content)
    except DAMAGED as error:
        raise ValueError(
            f"{path} is not a checkpoint of metarl's format {number}: {_first_line(error)[:200]}"
        ) from error
    if not whole:
        raise ValueError(f"{path} is damaged: its checksum does not match its content")
    for earlier in range(number, NUMBER):
        content = MIGRATIONS[earlier](content)
    return TrainState(**{name: content[name] for name in TrainState._fields})


def _require_bounded(data: bytes) -> None:
    """Raise BadZipFile if the archive would unpack to more bytes than it has; torch writes it without compression.

    Of what its pickle may name, torch admits more than tensors of the archive: `bytearray` makes as many bytes as it is
    told. So names are few, and read before anything is made.
    """
    if not data.startswith(b"PK\x03\x04"):  # else torch would read a bare pickle in front of an archive
        raise zipfile.BadZipFile("it is no archive")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise zipfile.BadZipFile("its content is compressed")
        if sum(entry.file_size for entry in entries) > len(data):
            raise zipfile.BadZipFile("it would unpack to more than it holds")
        pickles = [archive.read(entry) for entry in entries if entry.filename.endswith("data.pkl")]
    for code in pickles:
        for operation, name, _ in pickletools.genops(code):
            if operation.name in NAMING and not (operation.name == "GLOBAL" and NAMES.fullmatch(str(name))):
                raise pickle.UnpicklingError(f"it names {name or operation.name}, which no checkpoint does")


def _first_line(error: Exception) -> str:
    """What went wrong, without the advice of many lines that torch.load gives after it."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _format_number(content: Any, path: Path) -> int:
    """The number of the content's format. Raises ValueError without a number, NewerFormatError for a later format."""
    name = content.get("format") if isinstance(content, dict) else None
    digits = name.removeprefix(PREFIX) if isinstance(name, str) and name.startswith(PREFIX) else ""
    if not (digits.isascii() and digits.isdigit() and len(digits) < 9 and int(digits) > 0):
        raise ValueError(f"{path} is not a checkpoint of metarl (expected format {FORMAT!r})")
    if int(digits) > NUMBER:
        raise NewerFormatError(
            f"{path} was written by a newer version of metarl (format {digits}, this one reads up to {NUMBER}): "
            "install that version; the file is left as it is"
        )
    return int(digits)


def _require_fields(content: dict[Any, Any]) -> None:
    """Raise ValueError unless a content has the fields of a checkpoint, each of its type and of a sane size."""
    expected = {*TrainState._fields, "format", "checksum"}
    strange = sorted(map(str, set(content) ^ expected))
    require(not strange, f"its fields differ: {', '.join(strange[:5])}")
    for group in GROUPS:
        require(isinstance(content[group], dict), f"{group} must be tensors by name")
        for name, leaf in content[group].items():
            _require_tensor(f"{group}/{name}", name, leaf)
    iteration = content["iteration"]
    best_score = content["best_score"]
    env_steps = content["env_steps"]
    whole = type(iteration) is int and 0 <= iteration < 2**53
    require(whole, f"iteration must be a whole number, at least 0; got {str(iteration)[:40]!r}")
    ordered = type(best_score) is float and not math.isnan(best_score)
    require(ordered, f"best_score must be a number; got {str(best_score)[:40]!r}")
    finite = type(env_steps) in (int, float) and 0 <= env_steps < math.inf
    require(finite, f"env_steps must be a finite number, at least 0; got {str(env_steps)[:40]!r}")
    require(isinstance(content["config"], dict), "config must be plain values by name")
    _require_plain(content["config"])


def _require_tensor(place: str, name: Any, leaf: Any) -> None:
    """Raise ValueError unless a leaf is a named, dense tensor whose storage has all its values (none repeated)."""
    dense = isinstance(name, str) and isinstance(leaf, Tensor) and leaf.layout == torch.strided
    require(dense, f"{place} must be a dense tensor; got {type(leaf).__name__}")
    require(leaf.nbytes <= leaf.untyped_storage().nbytes(), f"{place} would be larger than what is stored of it")


def _require_plain(value: Any) -> None:
    """Raise ValueError unless a value is made of dicts, lists, words and numbers, at most MOST_VALUES of them.

    A pickle may name one list many times, and so describe more values than any memory holds.
    """
    waiting = [value]
    seen = 0
    while waiting:
        item = waiting.pop()
        seen += 1
        require(seen + len(waiting) <= MOST_VALUES, f"config has more than {MOST_VALUES} values")
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple):
            waiting += item
        else:
            require(item is None or isinstance(item, bool | int | float | str), f"config has a {type(item).__name__}")


def _checksum(content: dict[str, Any]) -> str:
    """SHA-256 over every value but the checksum itself: plain values as JSON, tensors as their bytes."""
    digest = hashlib.sha256()
    plain = {name: value for name, value in content.items() if name not in (*GROUPS, "checksum")}
    digest.update(json.dumps(plain, sort_keys=True).encode())
    for group in GROUPS:
        for name, leaf in content[group].items():
            digest.update(f"{group}/{name} {leaf.dtype} {tuple(leaf.shape)}".encode())
            digest.update(leaf.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
