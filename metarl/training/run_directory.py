"""What a run leaves on disk, and who may write there: a directory belongs to one configuration."""

import importlib.metadata
import json
import math
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from metarl.files import LOCK, keep_copy, owned, write_atomically
from metarl.training.checkpoint import NewerFormatError, load
from metarl.training.config import Config
from metarl.training.state import TrainState
from metarl.training.tree import differences

CONFIG, METRICS, LAST, BEST = "config.json", "metrics.csv", "checkpoint.pt", "best.pt"
PREVIOUS = "checkpoint.previous.pt"  # the last checkpoint but one


class Identity(NamedTuple):
    """Whose a run directory is: plain values, which config.json and checkpoints keep, and how to compare them."""

    values: dict[str, Any]
    require_same: Callable[[Mapping[str, Any], Path], None]  # raises ValueError for stored values of another run


def identity_of(config: Config) -> Identity:
    """That of a configuration."""

    def require_same(stored: Mapping[str, Any], where: Path) -> None:
        _require_same(understood(stored, where), config, where)

    return Identity(config.to_dict(), require_same)


def plain_identity(values: Mapping[str, Any]) -> Identity:
    """That of values of one's own, all of which must stay as they are."""
    own = json.loads(json.dumps(dict(values)))

    def require_same(stored: Mapping[str, Any], where: Path) -> None:
        for name in (*own, *stored):
            if own.get(name) != stored.get(name):
                raise ValueError(
                    f"{where} belongs to another run: {name} is {stored.get(name)} there and {own.get(name)} here"
                )

    return Identity(own, require_same)


@contextmanager
def claimed(run_dir: Path, identity: Identity, *, resume: bool) -> Iterator[TrainState | None]:
    """Make `run_dir` this run's own, and meanwhile this process's; gives the state to go on from, if there is one.

    Raises:
        ValueError: the directory holds a run and `resume` is not given, or holds one of another configuration, or
            something else than a run, or its checkpoints cannot be read, or another process is writing there.
        OSError: the directory cannot be written.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise ValueError(f"{run_dir} is a file; a run needs a directory")
    if run_dir.is_dir() and not (run_dir / CONFIG).is_file() and any(map(_foreign, run_dir.iterdir())):
        raise ValueError(f"{run_dir} is not empty and holds no run: choose another --run-dir")
    run_dir.mkdir(parents=True, exist_ok=True)
    with owned(run_dir):
        yield _claim(run_dir, identity, resume=resume)


def _foreign(path: Path) -> bool:
    """Whether a file is none that a run leaves which was killed before its configuration was written."""
    return path.name != LOCK and not path.match(f".{CONFIG}.*.tmp")


def _claim(run_dir: Path, identity: Identity, *, resume: bool) -> TrainState | None:
    if (run_dir / CONFIG).is_file():
        if not resume:
            raise ValueError(
                f"{run_dir} already holds a run: add --resume to go on with it, or choose another --run-dir"
            )
        identity.require_same(_read_values(run_dir), run_dir)
        _require_known_formats(run_dir)
        for leftover in run_dir.glob(".*.tmp"):  # of a process that was killed while it wrote
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
    _write_config(run_dir, identity.values, _provenance())
    return None


def _require_known_formats(run_dir: Path) -> None:
    """Raise NewerFormatError if a checkpoint of the run is one of a later version, which would be replaced."""
    for name in (LAST, PREVIOUS, BEST):
        try:
            load(run_dir / name)
        except NewerFormatError:
            raise
        except ValueError:
            continue  # missing or damaged: others may be taken in its place


def _before_its_first_iteration(run_dir: Path) -> bool:
    """Whether a run was stopped before it had anything to lose; its first parameters may be there, as the best."""
    if any((run_dir / name).exists() for name in (METRICS, LAST, PREVIOUS)):
        return False
    return not (run_dir / BEST).exists() or load(run_dir / BEST).iteration == 0


def restore_last(run_dir: Path) -> None:
    """Put the checkpoint before the last in its place if that cannot be read, or the next save would keep it."""
    try:
        load(run_dir / LAST)
    except ValueError:
        keep_copy(run_dir / PREVIOUS, run_dir / LAST)


def update_config(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write the configuration that a run goes on with, such as more iterations; how it began stays."""
    _write_config(run_dir, config, json.loads((run_dir / CONFIG).read_text()))


def _write_config(run_dir: Path, config: Mapping[str, Any], others: dict[str, Any]) -> None:
    """Where that is not what the file says already."""
    content = (json.dumps({**others, "config": config}, indent=2) + "\n").encode()
    if not (run_dir / CONFIG).is_file() or (run_dir / CONFIG).read_bytes() != content:
        write_atomically(run_dir / CONFIG, content)


def read_config(run_dir: Path) -> Config:
    """The configuration of the run in `run_dir`. Raises ValueError if there is none, or it cannot be understood."""
    return understood(_read_values(run_dir), run_dir / CONFIG)


def _read_values(run_dir: Path) -> dict[str, Any]:
    """The plain values that config.json keeps. Raises ValueError if there are none."""
    path = run_dir / CONFIG
    if not path.is_file():
        raise ValueError(f"{run_dir} holds no run: there is no {CONFIG} in it")
    try:
        return dict(json.loads(path.read_text())["config"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a configuration of metarl: {error}") from error


def understood(values: Mapping[str, Any], where: Path) -> Config:
    """Stored values as a configuration. Raises ValueError that names `where` if they are none."""
    try:
        return Config.from_dict(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{where} is not a configuration of metarl: {error}") from error


def kept_name(iteration: int) -> str:
    """The file of a checkpoint that is kept on the way."""
    return f"checkpoint-{iteration:06d}.pt"


def read_parameters(run_dir: Path, which: str | int) -> TrainState:
    """A checkpoint of a run: the `last` one, the `best`, or the one that was kept after so many outer steps.

    Raises:
        ValueError: it is missing, damaged, or another run's.
    """
    config = read_config(run_dir)
    path = run_dir / (kept_name(which) if isinstance(which, int) else {"last": LAST, "best": BEST}[which])
    state = _load_last(run_dir) if which == "last" else load(path)
    _require_same(understood(state.config, path), config, path)
    return state


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
    """Raise ValueError, naming all of them, where options differ that make other numbers."""
    if different := differences(stored, config):
        raise ValueError(f"{where} belongs to another configuration: {'; '.join(map(str, different))}")


def command_line() -> str:
    """How this process was started: the script's name and its arguments."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _provenance() -> dict[str, Any]:
    """The command, versions of what computes, and the commit of the source tree, if it is one."""
    packages = ("metarl", "torch", "numpy", "scipy", "gymnasium", "mujoco")
    git = shutil.which("git") and subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "command": command_line(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "git_commit": (git and git.stdout.strip()) or None,
    }
