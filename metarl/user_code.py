"""Code of users: importing the modules that they name, functions as parts, and telling their mistakes from metarl's.

Modules are files, or in the current folder, or anywhere on Python's path.
"""

import dataclasses
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from metarl.starting_folder import from_start, start

_FILES: dict[str, str] = {}  # modules that users named, as they named them -> the file of each that has one
_TOLD: set[tuple[Path, Path]] = set()  # files that have moved, and where they are, as this process has told
_moved: ContextVar[Literal["refused", "told", "taken"]] = ContextVar("moved", default="refused")  # files elsewhere


@contextmanager
def of_a_stored_run(*, told: bool = False) -> Iterator[None]:
    """Look inside the block for files that have moved in the current folder and on Python's path.

    Args:
        told: another process has told of them already; otherwise each is a warning.
    """
    before = _moved.set("taken" if told else "told")
    try:
        yield
    finally:
        _moved.reset(before)


def digests() -> dict[str, str]:
    """SHA-256 of the files of those modules that were named in this process, by what they were named."""
    files = {place: Path(file) for place, file in _FILES.items()}
    return {place: hashlib.sha256(file.read_bytes()).hexdigest() for place, file in files.items() if file.is_file()}


def module_named(place: str, asked: str) -> ModuleType:
    """Import a module by its dotted name, also from the current folder, or by its file.

    Args:
        place: `package.module`, or the path of a .py file.
        asked: what the user asked for, the beginning of a message.

    Raises:
        ValueError: there is no such module or file, or another module has the file's name. An error inside the module
            is passed on as it is.
    """
    module = _imported(place, asked)
    if file := getattr(module, "__file__", None):
        _FILES[place] = file
    return module


def _imported(place: str, asked: str) -> ModuleType:
    if place.endswith(".py"):
        path = from_start(Path(place).expanduser()).resolve()
        # The module itself may have moved the process to another folder.
        before = Path(_FILES.get(place, path))
        return _of_file(_present(before if before.is_file() and not path.is_file() else path, asked), asked)
    if (here := str(start())) not in sys.path:
        # Last, so that no file of the user's hides an installed module.
        sys.path.append(here)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            # The named module exists; what is missing is a module that it imports.
            raise
        elsewhere = _elsewhere(place)
        where = elsewhere or "is it in this folder, installed, or on PYTHONPATH?"
        raise ValueError(f"{asked}: there is no module {error.name!r}; {where}") from error
    except TypeError as error:
        if not place.startswith("."):
            raise
        raise ValueError(f"{asked}: name the module in full, without leading dots") from error


def require_both(kind: str, choice: str, place: str, name: str) -> None:
    """Raise ValueError unless a choice has a module and a name."""
    if not place or not name:
        raise ValueError(f"{kind} must be MODULE:NAME, such as mine.py:Mine; got {choice!r}")


def named(kind: str, choice: str) -> Any:
    """The object that MODULE:NAME names; MODULE may be a file, and NAME one within a class, such as Outer.Inner.

    Args:
        kind: what the object is to be, for messages.
        choice: MODULE:NAME.

    Raises:
        ValueError: `choice` has another form, there is no such module, or no such name in it. An error inside the
            module is passed on as it is.
    """
    place, _, name = choice.rpartition(":")
    require_both(kind, choice, place, name)
    module = module_named(place, f"{kind} {choice!r}")
    found: Any = module
    where = place
    for part in name.split("."):
        if not hasattr(found, part):
            public = [other for other in vars(found) if not other.startswith("_")] if hasattr(found, "__dict__") else []
            near = difflib.get_close_matches(part, public, n=1)
            right = f"did you mean {near[0]}?" if near else f"it has {', '.join(public) or 'nothing'}"
            raise ValueError(f"{kind} {choice!r}: {where} has no {part}; {right}")
        found = getattr(found, part)
        where = part
    return found


def _elsewhere(place: str) -> str:
    """Words about another module that hides the one of that name in the current folder; "" where none does."""
    top = place.split(".")[0]
    mine = start() / top
    other = getattr(sys.modules.get(top), "__file__", None)
    if other is None or not (mine.is_dir() or mine.with_suffix(".py").is_file()):
        return ""
    return f"{top!r} is {other} here: give the one in this folder another name, or name its file (FILE.py:NAME)"


def _present(path: Path, asked: str) -> Path:
    """The path of a file, or of one of its name elsewhere, where a stored run names a file that has moved."""
    if path.is_file() or _moved.get() == "refused":
        return path
    others = [Path(folder) / path.name for folder in (start(), *sys.path)]
    found = next((other.resolve() for other in others if other.is_file()), None)
    if found is None:
        raise ValueError(
            f"{asked}: there is no file {path}, and none of its name in this folder or on PYTHONPATH: put it there"
        )
    # A command looks for one file several times: for every option, configuration and checkpoint that names it.
    if _moved.get() == "told" and (path, found) not in _TOLD:
        _TOLD.add((path, found))
        warnings.warn(f"{asked}: there is no file {path} any more; {found} is taken", stacklevel=2)
    return found


def _of_file(path: Path, asked: str) -> ModuleType:
    known = sys.modules.get(path.stem)
    if known is not None:
        if Path(getattr(known, "__file__", None) or "").resolve() == path:
            return known
        raise ValueError(f"{asked}: a module named {path.stem!r} is loaded already; give the file another name")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"{asked}: there is no file {path} (a path from the folder of the command)")
    module = importlib.util.module_from_spec(spec)
    # As Python does for a file that it runs, so that the file finds its neighbours; last, as above.
    if (folder := str(path.parent)) not in sys.path:
        sys.path.append(folder)
    # Dataclasses and pickles look their module up there.
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def called_with(error: TypeError, names: tuple[str, ...], caller: str) -> bool:
    """Whether an error says that what a file calls, be it through Gymnasium's wrappers, has no parameter of a name."""
    unknown = any(f"unexpected keyword argument '{name}'" in str(error) for name in names)
    return unknown and raised_at_the_call(error, caller)


def raised_at_the_call(error: Exception, caller: str) -> bool:
    """Whether an error was raised where a file, or Gymnasium, calls a user's code, and not within that code."""
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    return last == Path(caller) or "gymnasium" in last.parts


def keyword_fields(function: Callable[..., Any]) -> list[tuple[str, Any, Any]]:
    """The keyword-only parameters of a function as fields for `dataclasses.make_dataclass`: name, type, default.

    Raises:
        ValueError: a keyword-only parameter without a type.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    fields = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if name not in hints:
            raise ValueError(f"option {name!r} of {function.__qualname__} needs a type, such as {name}: float = 0.1")
        default = dataclasses.MISSING if parameter.default is inspect.Parameter.empty else parameter.default
        fields.append((name, hints[name], dataclasses.field(default=default)))
    return fields


def part_of_function(function: Callable[..., Any], base: type[Any]) -> type[Any]:
    """A part whose `build` calls a function, and whose options are the function's keyword-only parameters.

    Args:
        function: does what `build` does.
        base: what the part derives from.

    Raises:
        ValueError: a keyword-only parameter without a type; (by `build`) a function of other parameters.
    """
    fields = keyword_fields(function)
    signature = inspect.signature(function)

    def build(part: Any, *arguments: Any) -> Any:
        own = {name: getattr(part, name) for name, *_ in fields}
        try:
            signature.bind(*arguments, **own)
        except TypeError as error:
            given = f"{len(arguments)} argument{'' if len(arguments) == 1 else 's'}"
            raise ValueError(
                f"{function.__qualname__}{signature} is called with {given} before its options, as `build` of "
                f"{base.__module__}.{base.__qualname__}: {error}"
            ) from error
        return function(*arguments, **own)

    namespace = {"build": build, "__doc__": function.__doc__, "__module__": function.__module__}
    return dataclasses.make_dataclass(
        function.__name__, fields, bases=(base,), frozen=True, kw_only=True, namespace=namespace
    )


def choices(choice: str, names: Sequence[str]) -> str:
    """Say what to choose from, and first which of the names differs from an unknown choice in its version alone."""
    version = re.compile(r"-v\d+$")
    also = [name for name in names if version.sub("", name) == version.sub("", choice)]
    hint = f"here is {also[0]}, which is not the same (CHANGELOG.md); " if also else ""
    return f"{hint}choose one of {', '.join(names)}"
