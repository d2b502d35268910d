"""The directory of a run: its files, the one configuration that it belongs to, and the one process that writes."""

import functools
import importlib.metadata
import json
import math
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from metarl.files import LOCK, keep_copy, owned, write_atomically
from metarl.reading import read_object
from metarl.training.checkpoint import NewerFormatError, load
from metarl.training.config import Config
from metarl.training.state import TrainState
from metarl.training.tree import Difference, differences
from metarl.training.values import plain
from metarl.user_code import digests, of_a_stored_run

CONFIG = "config.json"
CODE = "code"  # in config.json: digests of the user's modules, by the names that the options have for them
METRICS = "metrics.csv"
LAST = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"  # the last checkpoint but one
BEST = "best.pt"
NAMED = {"last": LAST, "best": BEST}  # the checkpoints that commands name


class Identity(NamedTuple):
    """What identifies a run: plain values, which config.json and checkpoints keep, and how to compare stored ones."""

    values: dict[str, Any]
    require_same: Callable[[Mapping[str, Any], Path], None]  # raises ValueError for stored values of another run


def identity_of(config: Config) -> Identity:
    """The identity of a run with a configuration."""

    def require_same(stored: Mapping[str, Any], where: Path) -> None:
        _require_same(understood(stored, where), config, where)

    return Identity(config.to_dict(), require_same)


def plain_identity(values: Mapping[str, Any]) -> Identity:
    """The identity of a run with any plain values, all of which must be the same at a resume.

    Raises:
        ValueError: a value is none that JSON has, and no number or array of NumPy.
    """
    own = plain(values)

    def require_same(stored: Mapping[str, Any], where: Path) -> None:
        for name in (*own, *stored):
            here, there = own.get(name), stored.get(name)
            # As values, 1 is the same as 1.0; as texts, nan is the same as nan.
            if here != there and json.dumps(here, sort_keys=True) != json.dumps(there, sort_keys=True):
                raise ValueError(f"{where} belongs to another run: {name} is {there} there and {here} here")

    return Identity(own, require_same)


@contextmanager
def claimed(run_dir: Path, identity: Identity, *, resume: bool) -> Iterator[TrainState | None]:
    """Own `run_dir` inside the block, for this run and this process; gives the state to go on from, if there is one.

    Raises:
        ValueError: the directory holds a run and `resume` is false, or a run of another configuration, or anything but
            a run, or its checkpoints cannot be read, or another process is writing there.
        OSError: the directory cannot be written.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"{run_dir} is a file; a run needs a directory")
    if run_dir.is_symlink() and not run_dir.exists():
        raise ValueError(f"{run_dir} is a link to nowhere, {run_dir.readlink()}; a run needs a directory")
    if run_dir.is_dir() and not (run_dir / CONFIG).is_file() and any(map(_foreign, run_dir.iterdir())):
        raise ValueError(f"{run_dir} is not empty and holds no run: choose another --run-dir")
    run_dir.mkdir(parents=True, exist_ok=True)
    with owned(run_dir):
        yield _claim(run_dir, identity, resume=resume)


def _foreign(path: Path) -> bool:
    """Whether a file cannot come from a run that was killed before it wrote its configuration."""
    return path.name != LOCK and not path.match(f".{CONFIG}.*.tmp")


def _claim(run_dir: Path, identity: Identity, *, resume: bool) -> TrainState | None:
    """Begin a run in an owned directory (None), or read the state of the one that is there; see `claimed`."""
    if (run_dir / CONFIG).is_file():
        if not resume:
            raise ValueError(
                f"{run_dir} already holds a run: add --resume to go on with it, or choose another --run-dir"
            )
        identity.require_same(_read_values(run_dir), run_dir)
        _warn_of_changed_code(run_dir)
        _require_known_formats(run_dir)
        # A process that was killed while it wrote leaves temporary files.
        for leftover in run_dir.glob(".*.tmp"):
            leftover.unlink()
        if _before_its_first_iteration(run_dir):
            return None
        state = _load_last(run_dir)
        best_score = -math.inf
        identity.require_same(state.config, run_dir / LAST)
        try:
            best = load(run_dir / BEST)
        except ValueError as error:
            warnings.warn(f"{error}; the best parameters from here on take its place", stacklevel=2)
        else:
            identity.require_same(best.config, run_dir / BEST)
            best_score = state.best_score
        return state._replace(config=identity.values, best_score=best_score)
    if resume:
        warnings.warn(f"{run_dir} holds no run to go on with: a new one begins", stacklevel=2)
    _write_config(run_dir, identity.values, _provenance(identity.values))
    return None


def _require_known_formats(run_dir: Path) -> None:
    """Raise NewerFormatError if a later version of metarl wrote a checkpoint of the run, which would be replaced."""
    for name in (LAST, PREVIOUS, BEST):
        try:
            load(run_dir / name)
        except NewerFormatError:
            raise
        except ValueError:
            # Another checkpoint may take the place of one that is missing or damaged.
            continue


def _before_its_first_iteration(run_dir: Path) -> bool:
    """Whether a run was stopped before its first iteration; its initial parameters may be there, as the best."""
    if any((run_dir / name).exists() for name in (METRICS, LAST, PREVIOUS)):
        return False
    return not (run_dir / BEST).exists() or load(run_dir / BEST).iteration == 0


def restore_last(run_dir: Path) -> None:
    """Replace a last checkpoint that cannot be read by the one before it."""
    # Otherwise the next save would keep the damaged one as the last but one.
    try:
        load(run_dir / LAST)
    except ValueError:
        keep_copy(run_dir / PREVIOUS, run_dir / LAST)


def update_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration that a run goes on with, such as more iterations; the record of its start stays.

    A file that has moved is noted where it is now, too.
    """
    record = json.loads((run_dir / CONFIG).read_text())
    if isinstance(noted := record.get(CODE), dict):
        known = set(noted.values())
        record[CODE] = {**{place: digest for place, digest in _digests_of(config).items() if digest in known}, **noted}
    _write_config(run_dir, config, record)


def _write_config(run_dir: Path, config: Mapping[str, Any], others: dict[str, Any]) -> None:
    """Write config.json, unless it has this content already."""
    content = (json.dumps({**others, "config": config}, indent=2) + "\n").encode()
    if not (run_dir / CONFIG).is_file() or (run_dir / CONFIG).read_bytes() != content:
        write_atomically(run_dir / CONFIG, content)


def read_config(run_dir: Path) -> Config:
    """The configuration of the run in `run_dir`. Raises ValueError if there is none, or if it is not of metarl."""
    return understood(_read_values(run_dir), run_dir / CONFIG)


def holds_run(place: Path) -> bool:
    """Whether a directory holds a run's configuration: other programs, too, have a file of its name."""
    if not (place / CONFIG).is_file():
        return False
    try:
        return isinstance(read_object(place / CONFIG).get("config"), dict)
    except ValueError:
        return False


def _read_values(run_dir: Path) -> dict[str, Any]:
    """The plain values in config.json. Raises ValueError if there are none."""
    path = run_dir / CONFIG
    if not path.is_file():
        raise ValueError(f"{run_dir} holds no run: {_why_none(run_dir)}")
    try:
        return dict(json.loads(path.read_text())["config"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a configuration of metarl: it has no object 'config'") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a configuration of metarl: {error}") from error


def _why_none(run_dir: Path) -> str:
    """Why a place holds no run, and where there may be one."""
    if not run_dir.exists():
        return "there is no such directory"
    if not run_dir.is_dir():
        return "it is a file" + (f"; {run_dir.parent} holds one" if (run_dir.parent / CONFIG).is_file() else "")
    within = sorted(path.parent.name for path in run_dir.glob(f"*/{CONFIG}"))
    further = f" and {len(within) - 3} more" if len(within) > 3 else ""
    inside = f"; in it, {', '.join(within[:3])}{further} {'hold one' if within[1:] else 'holds one'}" if within else ""
    return f"there is no {CONFIG} in it{inside}"


def understood(values: Mapping[str, Any], where: Path) -> Config:
    """Make a configuration of stored values. Raises ValueError, which names `where`, if they are not one."""
    try:
        with of_a_stored_run():
            return Config.from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where} is not a configuration of metarl: {error}") from error


def kept_name(iteration: int) -> str:
    """The name of the file of a checkpoint that is kept for good (`--keep-every`)."""
    return f"checkpoint-{iteration:06d}.pt"


def _kept(run_dir: Path) -> str:
    """In words, which checkpoints of a run are kept for good."""
    names = [path.stem.removeprefix("checkpoint-") for path in run_dir.glob("checkpoint-*.pt")]
    steps = sorted(int(name) for name in names if name.isdecimal())
    return f"there are those of {', '.join(map(str, steps))}" if steps else "it keeps none (see keep_every)"


def read_parameters(run_dir: Path, which: str | int) -> TrainState:
    """Read a checkpoint of a run: the `last`, the `best`, or the one that was kept after a number of outer steps.

    Raises:
        ValueError: the checkpoint is missing, damaged, or of another run.
    """
    config = read_config(run_dir)
    if isinstance(which, str):
        path = run_dir / NAMED[which]
    else:
        path = run_dir / kept_name(which)
        if not path.is_file():
            raise ValueError(f"{run_dir} has kept no checkpoint of {which} outer steps: {_kept(run_dir)}")
    state = _load_last(run_dir) if which == "last" else load(path)
    _require_same(understood(state.config, path), config, path)
    _warn_of_changed_code(run_dir)
    return state


def _warn_of_changed_code(run_dir: Path) -> None:
    """Warn of modules of the user's that are others than where the run began, as far as it noted them."""
    noted = read_object(run_dir / CONFIG).get(CODE)
    for place, digest in digests().items():
        if isinstance(noted, dict) and noted.get(place, digest) != digest:
            warnings.warn(f"{place} has changed since {run_dir} began: what it computes may be another", stacklevel=3)


def _load_last(run_dir: Path) -> TrainState:
    """The last checkpoint, or with a warning the one before it. Raises ValueError if neither can be read."""
    try:
        return load(run_dir / LAST)
    except NewerFormatError:
        raise
    except ValueError as error:
        try:
            state = load(run_dir / PREVIOUS)
        except ValueError:
            raise error from None
        warnings.warn(f"{error}; the one before it, of iteration {state.iteration}, is taken", stacklevel=2)
        return state


def _require_same(stored: Config, config: Config, where: Path) -> None:
    """Raise ValueError, which names them all, if options differ that may not change at a resume.

    A file that has moved since the run began is the same where its content is.
    """
    run_dir = where if where.is_dir() else where.parent
    if different := [each for each in differences(stored, config) if not _has_moved(each, run_dir)]:
        raise ValueError(f"{where} belongs to another configuration: {'; '.join(map(str, different))}")


def _has_moved(difference: Difference, run_dir: Path) -> bool:
    """Whether two choices are one name in a file of one content, as far as the run noted it, in two places."""
    if not (isinstance(difference.first, str) and isinstance(difference.second, str)):
        return False
    before, _, name = difference.first.rpartition(":")
    now, _, own = difference.second.rpartition(":")
    digest = digests().get(now)
    if digest is None or name != own:
        return False
    noted = read_object(run_dir / CONFIG).get(CODE)
    return isinstance(noted, dict) and noted.get(before) == digest


def command_line() -> str:
    """The command that started this process: the script's name and its arguments."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions_of(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed."""
    versions = {}
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = _version(name)
    return versions


# Cached, because for a version Python parses all that a package says about itself. That a package is missing is an
# exception, which is not cached.
@functools.cache
def _version(package: str) -> str:
    return importlib.metadata.version(package)


# Cached: the code of a process is that of its start, whatever is committed later.
@functools.cache
def _commit() -> str | None:
    """The commit of the source tree; None where there is none, or no git."""
    if shutil.which("git") is None:
        return None
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None


def _provenance(values: Mapping[str, Any]) -> dict[str, Any]:
    """How a run was started: the command, versions of packages, the source tree's commit, digests of user's modules."""
    return {
        "command": command_line(),
        "versions": versions_of("metarl", "torch", "numpy", "scipy", "gymnasium", "mujoco"),
        "git_commit": _commit(),
        CODE: _digests_of(values),
    }


def _digests_of(values: Mapping[str, Any]) -> dict[str, str]:
    """The digests of those of the user's modules that a configuration names."""
    chosen = json.dumps(values)
    # Without its last quote, the place is the beginning of a value, with characters escaped as there.
    return {place: digest for place, digest in digests().items() if json.dumps(f"{place}:")[:-1] in chosen}
