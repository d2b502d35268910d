"""Parts: what a run can choose. A part is a frozen dataclass of options with a method `build` that makes the object.

The command line, its checks, `config.json`, the comparison at a resume and the reference page are all derived from the
fields of the parts. So an option is written down once: its name, type, default, bounds and meaning.

    @RULES.register("sgd")
    @dataclass(frozen=True, kw_only=True)
    class SGD(Rule):
        '''Gradient steps of a fixed size (Finn et al. 2017, equation 1).'''

        inner_step_size: Annotated[float, POSITIVE] = 0.1
        '''Step size alpha of the inner gradient steps.'''

        def build(self, step_sizes: Sequence[float]) -> InnerRule: ...
"""

import dataclasses
import functools
import importlib
import inspect
import math
import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from metarl.attribute_docstrings import attribute_docstrings
from metarl.kinds import as_kind, is_of, type_in_words
from metarl.user_code import choices, module_named, named, of_a_stored_run, part_of_function, require_both


@dataclass(frozen=True)
class Bound:
    """A condition on the value of an option, and the same condition in words."""

    admits: Callable[[Any], bool]
    words: str  # completes the sentence "NAME must be ..."

    def require(self, name: str, value: Any) -> None:
        """Raise ValueError for a value that the bound does not admit; `name` is what has the value."""
        if not self.admits(value):
            raise ValueError(f"{name} must be {self.words}; got {value}")

    def of_each(self) -> "Bound":
        """The bound of a list whose every value keeps to this bound."""
        return Bound(lambda values: all(map(self.admits, values)), f"a list of values that are each {self.words}")


def at_least(least: float) -> Bound:
    """Bound: a finite number that is not below `least`."""
    return Bound(lambda value: least <= value < math.inf, f"at least {least}")


def below(limit: float, words: str | None = None) -> Bound:
    """Bound: a number below `limit`, which `words` name in messages (by default the number itself)."""
    return Bound(lambda value: value < limit, f"below {words or limit}")


POSITIVE = Bound(lambda value: 0 < value < math.inf, "a positive number")
NOT_NEGATIVE = Bound(lambda value: 0 <= value < math.inf, "a finite number, at least 0")
PROBABILITY = Bound(lambda value: 0 <= value <= 1, "in [0, 1]")
SHARE = Bound(lambda value: 0 < value <= 1, "in (0, 1]")
NOT_EMPTY = Bound(lambda values: len(values) > 0, "a list with at least one value")


class Marker(NamedTuple):
    """A property of an option beside its type and its bounds."""

    name: str


MAY_CHANGE = Marker("may change at a resume")
HIDDEN = Marker("no flag of the command line")
RECORDED = Marker("noted where a training begins, and not chosen; None in runs of earlier versions")


class Option(NamedTuple):
    """One field of a part."""

    name: str
    hint: Any  # the field's type, without metadata
    default: Any  # dataclasses.MISSING where a value must be given
    words: str  # the meaning: the string below the field
    bounds: tuple[Bound, ...]
    markers: tuple[Marker, ...]
    registry: "Registry[Any] | None"  # where the option is a choice among parts; None for a value

    def check(self, value: Any) -> None:
        """Raise ValueError for a value of another type, none of a Literal's choices, or that a bound does not admit.

        Every value of a tuple must keep to the bounds; only NOT_EMPTY is about the tuple itself.
        """
        if self.registry is not None and not callable(getattr(value, "build", None)):
            raise ValueError(f"{self.name} must be a part, which has a method build; got {value!r}")
        if self.registry is None and not is_of(self.hint, value):
            raise ValueError(f"{self.name} must be {type_in_words(self.hint)}; got {value!r}")
        if value is None:
            return
        if typing.get_origin(self.hint) is Literal and value not in (choices := typing.get_args(self.hint)):
            raise ValueError(f"{self.name} must be {' or '.join(map(repr, choices))}; got {value!r}")
        for bound in self.bounds:
            applied = bound.of_each() if isinstance(value, tuple | list) and bound is not NOT_EMPTY else bound
            applied.require(self.name, value)


class Part:
    """Base of all parts. Making one raises ValueError for an option outside its bounds; paths become texts."""

    def __post_init__(self) -> None:
        for option in options(type(self)):
            object.__setattr__(self, option.name, as_kind(option.hint, getattr(self, option.name)))
        check(self)


def check(part: Any) -> None:
    """Raise ValueError unless every option of a part is within its bounds."""
    for option in options(type(part)):
        option.check(getattr(part, option.name))


@functools.cache
def options(kind: type) -> tuple[Option, ...]:
    """The options of a kind of part (or of any dataclass), in the order of its fields."""
    hints = typing.get_type_hints(kind, include_extras=True)
    words = attribute_docstrings(kind)
    found = []
    for field in dataclasses.fields(kind):
        if not field.init:
            continue
        hint = hints[field.name]
        metadata = ()
        if typing.get_origin(hint) is Annotated:
            hint, *metadata = typing.get_args(hint)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(
            Option(
                field.name,
                hint,
                default,
                words.get(field.name, ""),
                tuple(item for item in metadata if isinstance(item, Bound)),
                tuple(item for item in metadata if isinstance(item, Marker)),
                next((item for item in metadata if isinstance(item, Registry)), None),
            )
        )
    return tuple(found)


P = TypeVar("P")
# The class that `register` decorates: the decorator returns the same class, which type checkers are to know.
Kind = TypeVar("Kind", bound=type)


class Registry(Generic[P]):
    """The parts of one kind, by name. The first look-up imports every file of `package`, which registers its parts.

    Args:
        kind: the name of the choice on the command line, such as `rule`.
        package: the package that has the project's own parts, in its files and in packages within it. A new file there
            needs no change elsewhere.
        adopt: makes a part of an object that is no part but that a user names as MODULE:NAME, such as a class of
            modules; returns None for an object that it cannot use. Functions need none: see `part_of_function`.
        apart: packages and modules in `package` that hold no parts and load what not every run needs.
        adopted: what else than parts users may name, in words.
        base: what all parts of this kind derive from. A user's dataclass that does not is made to.
    """

    def __init__(
        self,
        kind: str,
        package: str,
        adopt: Callable[[Any], type[P] | None] = lambda thing: None,
        apart: tuple[str, ...] = (),
        adopted: str = "",
        base: type[Any] = Part,
    ) -> None:
        self.kind = kind
        self._package = package
        self._base = base
        self._adopters = [adopt]
        self._apart = apart
        self._adopted = f"{adopted}, " if adopted else ""
        self._parts: dict[str, type[P]] = {}
        self._found: dict[str, type[P]] = {}  # parts from outside `package`, by the name that asked for them
        self._finders: list[Callable[[str], type[P] | None]] = []
        self._complete = False
        REGISTRIES[kind, package] = self

    def register(self, name: str) -> Callable[[Kind], Kind]:
        """Class decorator: offer a part under a name. Raises ValueError if another part has the name."""

        def decorate(part: Kind) -> Kind:
            before = self._parts.get(name, part)
            if (before.__module__, before.__qualname__) != (part.__module__, part.__qualname__):
                raise ValueError(f"{self.kind} {name!r} is {before.__module__}.{before.__qualname__} already")
            self._parts[name] = typing.cast(type[P], part)
            return part

        return decorate

    def finder(self, find: Callable[[str], type[P] | None]) -> Callable[[str], type[P] | None]:
        """Function decorator: call the function for names that no part is registered under.

        The function returns the part of that name, or None.
        """
        self._finders.append(find)
        return find

    def adopter(self, adopt: Callable[[Any], type[P] | None]) -> Callable[[Any], type[P] | None]:
        """Function decorator: call the function for objects that users name and that are no parts; see `adopt`."""
        self._adopters.append(adopt)
        return adopt

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the registered parts, in alphabetical order."""
        # The order of registration depends on which module was imported first.
        self.load()
        return tuple(sorted(self._parts))

    def find(self, choice: str) -> type[P]:
        """The part of that name, or of MODULE:NAME outside the project; MODULE may be a file, such as mine.py:MyRule.

        NAME may be a part's class, a function (see `part_of_function`), or a name that the module registers.

        Raises:
            ValueError: there is no such name, module or object in the module, or the object cannot become a part. An
                error inside the module is passed on as it is.
        """
        self.load()
        if choice in self._parts:
            return self._parts[choice]
        if choice not in self._found:
            found = self._from_outside(choice) if ":" in choice else self._by_finders(choice)
            if found is None:
                known = choices(choice, self.names)
                raise ValueError(f"unknown {self.kind} {choice!r}: {known}, or your own as MODULE:NAME")
            self._found[choice] = found
        return self._found[choice]

    def name_of(self, part: P) -> str:
        """The name that `find` knows a part by. Raises ValueError for a part that was never registered or found."""
        self.load()
        # MODULE:NAME comes first, because another process finds a part from outside by that name alone.
        for name, kind in (*self._found.items(), *self._parts.items()):
            if type(part) is kind:
                return name
        raise ValueError(f"{part!r} is no registered {self.kind}: decorate its class with register, or name it")

    def load(self) -> None:
        """Import every file of the package, so that the files register their parts; a second call does nothing."""
        if self._complete:
            return
        # Set before the imports, because the files look up parts of each other.
        self._complete = True
        try:
            package = importlib.import_module(self._package)
            for file in pkgutil.walk_packages(package.__path__, f"{self._package}."):
                if not f"{file.name}.".startswith(tuple(f"{name}." for name in self._apart)):
                    importlib.import_module(file.name)
        except BaseException:
            # An interrupted import, or one that fails, must not leave a program with some of the parts for good.
            self._complete = False
            raise

    def _by_finders(self, name: str) -> type[P] | None:
        return next((part for find in self._finders if (part := find(name)) is not None), None)

    def _from_outside(self, choice: str) -> type[P]:
        place, _, name = choice.rpartition(":")
        require_both(self.kind, choice, place, name)
        module = module_named(place, f"{self.kind} {choice!r}")
        if name in self._parts:
            return self._parts[name]
        if not hasattr(module, name.split(".")[0]) and (found := self._by_finders(name)) is not None:
            return found
        thing = named(self.kind, choice)
        if isinstance(thing, type) and dataclasses.is_dataclass(thing) and callable(getattr(thing, "build", None)):
            return typing.cast(type[P], thing if issubclass(thing, self._base) else self._derived(choice, thing))
        for adopt in self._adopters:
            if (adopted := adopt(thing)) is not None:
                return self._with_pickles(choice, adopted)
        if inspect.isfunction(thing):
            return self._with_pickles(choice, part_of_function(thing, self._base))
        raise ValueError(
            f"{self.kind} {choice!r} must be {self._adopted}a dataclass with a method `build`, or a function that does "
            f"what `build` does; {name} is {'a class' if isinstance(thing, type) else type(thing).__name__}"
        )

    def _derived(self, choice: str, thing: type[Any]) -> type[P]:
        """A user's dataclass as a part that has what all parts of this kind have.

        Raises:
            ValueError: it lacks what every part must have of its own.
        """
        made = type(thing.__name__, (thing, self._base), {"__doc__": thing.__doc__, "__module__": thing.__module__})
        if lacking := sorted(getattr(made, "__abstractmethods__", ())):
            base = f"{self._base.__module__}.{self._base.__qualname__}"
            raise ValueError(f"{self.kind} {choice!r} lacks {', '.join(lacking)}: see {base}")
        return self._with_pickles(choice, made)

    def _with_pickles(self, choice: str, made: Any) -> type[P]:
        """Let parts of a class made here be pickled, unless it knows how itself: unpickling finds the class anew."""
        if made.__reduce__ is object.__reduce__:
            where = self.kind, self._package
            made.__reduce__ = lambda part: (_rebuilt, (*where, choice, values_of(part)))
        return made


REGISTRIES: dict[tuple[str, str], Registry[Any]] = {}
"""All registries, by their kind and the package that has their parts."""


def values_of(part: Any) -> dict[str, Any]:
    """The values of a part's options, by name."""
    return {option.name: getattr(part, option.name) for option in options(type(part))}


def _rebuilt(kind: str, package: str, choice: str, values: dict[str, Any]) -> Any:
    """Make a part of a user's class or function here, whose file may have moved. Raises ValueError if there is none."""
    importlib.import_module(package)
    with of_a_stored_run(told=True):
        return REGISTRIES[kind, package].find(choice)(**values)
