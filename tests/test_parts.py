"""Parts: options with bounds, registries, and a user's own things from outside the tree."""

import dataclasses
import json
import pickle
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from metarl.engine.outer import OUTERS
from metarl.engine.outer.ppo import PPO
from metarl.engine.rules import RULES
from metarl.engine.schedules import SCHEDULES
from metarl.parts import (
    MAY_CHANGE,
    NOT_EMPTY,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    SHARE,
    Part,
    Registry,
    at_least,
    below,
    options,
    values_of,
)
from metarl.rl.baselines import BASELINES
from metarl.rl.environments import ENVIRONMENTS
from metarl.rl.inner_losses import INNER_LOSSES
from metarl.rl.normalizers import NORMALIZATIONS
from metarl.rl.policies import POLICIES
from metarl.supervised.datasets import DATASETS
from metarl.supervised.datasets.omniglot import Omniglot
from metarl.user_code import part_of_function


class Tool(Part):
    """Base of all tools."""

    def require_hands(self, hands: int) -> None:
        """Nothing is too much for most tools."""


TOOLS: Registry[Any] = Registry("tool", "metarl.engine.schedules", base=Tool)


@TOOLS.register("hammer")
@dataclass(frozen=True, kw_only=True)
class Hammer(Tool):
    """Hits."""

    weight: Annotated[float, POSITIVE, MAY_CHANGE] = 2.0
    """In kilograms,
    with its handle."""
    sizes: Annotated[tuple[int, ...], at_least(1), NOT_EMPTY] = (1,)
    name: str = "tom"

    def build(self) -> float:
        return self.weight


@pytest.mark.parametrize(
    ("bound", "right", "wrong"),
    [
        (at_least(2), (2, 3), (1, float("inf"), float("nan"))),
        (below(3), (2,), (3,)),
        (POSITIVE, (1e-9,), (0, -1, float("inf"), float("nan"))),
        (NOT_NEGATIVE, (0,), (-1e-9, float("inf"), float("nan"))),
        (PROBABILITY, (0, 0.5, 1), (-0.1, 1.1, float("nan"))),
        (SHARE, (0.1, 1), (0, 1.1)),
        (NOT_EMPTY, ((1,),), ((),)),
    ],
)
def test_bounds(bound: Any, right: tuple[Any, ...], wrong: tuple[Any, ...]) -> None:
    assert all(map(bound.admits, right))
    assert not any(map(bound.admits, wrong))


def test_options_know_type_default_words_bounds_and_markers() -> None:
    weight, sizes, name = options(Hammer)
    assert (weight.name, weight.hint, weight.default) == ("weight", float, 2.0)
    assert weight.words == "In kilograms, with its handle."
    assert weight.markers == (MAY_CHANGE,)
    assert (sizes.default, name.words) == ((1,), "")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"weight": 0.0}, "weight must be a positive number; got 0.0"),
        ({"sizes": (2, 0)}, "sizes must be a list of values that are each at least 1; got (2, 0)"),
        ({"sizes": ()}, "sizes must be a list with at least one value; got ()"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as error:
        Hammer(**values)
    assert str(error.value) == words


def test_registries_find_and_name_their_parts() -> None:
    assert TOOLS.find("hammer") is Hammer
    assert TOOLS.name_of(Hammer(weight=1.0)) == "hammer"
    with pytest.raises(ValueError, match=r"unknown tool 'saw': choose one of hammer, or your own as MODULE:NAME"):
        TOOLS.find("saw")
    with pytest.raises(ValueError, match="no registered tool"):
        TOOLS.name_of(3)
    with pytest.raises(ValueError, match="tool 'hammer' is"):
        TOOLS.register("hammer")(int)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder, with a file of parts; what the test imports of it is forgotten."""
    (tmp_path / "my_tools.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass(frozen=True)\n"
        "class Saw:\n"
        "    teeth: int = 5\n"
        "    def build(self):\n"
        "        return self.teeth\n"
        "def drill(*, speed: float = 3.0, label: str = 'x'):\n"
        "    '''Turns.'''\n"
        "    return speed\n"
        "def untyped(*, speed=3.0):\n"
        "    return speed\n"
        "number = 4\n"
    )
    (tmp_path / "broken_tools.py").write_text("import sys\n\nraise RuntimeError('my own mistake')\n")
    (tmp_path / "needy_tools.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    path, before = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    # Modules of metarl stay: its classes could not find their source without them.
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
    TOOLS._found.clear()


@pytest.mark.parametrize("place", ["my_tools", "my_tools.py", "./my_tools.py"])
def test_a_users_dataclass_is_a_part(folder: Path, place: str) -> None:
    part = TOOLS.find(f"{place}:Saw")
    assert part(teeth=3).build() == 3
    assert TOOLS.name_of(part()) == f"{place}:Saw"


def test_a_users_function_is_a_part_with_its_keywords_as_options(folder: Path) -> None:
    part = TOOLS.find("my_tools:drill")
    assert [(option.name, option.hint, option.default) for option in options(part)] == [
        ("speed", float, 3.0),
        ("label", str, "x"),
    ]
    assert part(speed=7.0).build() == 7.0
    assert part.__doc__ == "Turns."


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (
            "no_such_module:Saw",
            "there is no module 'no_such_module'; is it in this folder, installed, or on P",
        ),
        ("no/such/file.py:Saw", "there is no file"),
        ("my_tools:Axe", "my_tools has no Axe; it has dataclass, Saw, drill, untyped, number"),
        ("my_tools:number", "number is int"),
        ("my_tools:untyped", "option 'speed' of untyped needs a type"),
        (".my_tools:Saw", "name the module in full"),
    ],
)
def test_what_cannot_be_found_is_said(folder: Path, choice: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        TOOLS.find(choice)
    assert words in str(error.value)


def test_a_mistake_in_the_users_module_is_its_own_error(folder: Path) -> None:
    for place in ("broken_tools", "broken_tools.py"):
        with pytest.raises(RuntimeError, match="my own mistake"):
            TOOLS.find(f"{place}:Saw")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        TOOLS.find("needy_tools:Saw")


@pytest.mark.parametrize("choice", ["my_tools:Saw", "my_tools.py:drill"])
def test_parts_of_users_have_what_all_of_their_kind_have_and_can_be_pickled(folder: Path, choice: str) -> None:
    kind = TOOLS.find(choice)
    part = kind(**{options(kind)[0].name: 7})
    part.require_hands(2)
    assert isinstance(part, Tool)
    again = pickle.loads(pickle.dumps(part))
    assert again == part
    assert again.build() == 7
    assert TOOLS.name_of(again) == choice


def test_a_function_of_other_parameters_is_told_what_it_is_called_with(folder: Path) -> None:
    part = TOOLS.find("my_tools:drill")()
    with pytest.raises(ValueError) as error:
        part.build((0.1,))
    assert str(error.value) == (
        "drill(*, speed: float = 3.0, label: str = 'x') is called with 1 argument before its options, as `build` of "
        "test_parts.Tool: too many positional arguments"
    )


def test_a_dataclass_that_lacks_what_its_kind_must_have_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"environment 'my_tools:Saw' lacks spaces: see metarl\.rl\.environments\.Env"):
        ENVIRONMENTS.find("my_tools:Saw")


def test_functions_are_whole_parts_of_every_kind(folder: Path) -> None:
    (folder / "my_parts.py").write_text("def mine(*_, size: float = 0.5):\n    return size\n")
    kinds: list[Registry[Any]] = [RULES, OUTERS, POLICIES, BASELINES, NORMALIZATIONS, INNER_LOSSES, SCHEDULES, DATASETS]
    parts = [registry.find("my_parts.py:mine")() for registry in kinds]
    for registry in kinds:
        del registry._found["my_parts.py:mine"]
    rule, outer, policy, *others = parts
    assert not rule.learns_step_sizes
    outer.require_tasks(1)
    assert policy.fits(Discrete(2))
    assert policy.fits(Box(-1, 1, (2,)))
    assert [part.build() for part in (*others, outer)] == [0.5] * 6
    assert rule.build((0.1,)) == 0.5


def test_arguments_of_build_reach_a_function() -> None:
    def stretched(length: float, *, factor: float) -> float:
        return length * factor

    part = part_of_function(stretched, Part)
    assert part(factor=2.0).build(3.0) == 6.0
    assert options(part)[0].default is dataclasses.MISSING


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Hammer(weight=cast(Any, "2")), "weight must be a number; got '2'"),
        (lambda: Hammer(weight=cast(Any, [2.0])), r"weight must be a number; got \[2.0\]"),
        (lambda: Hammer(weight=cast(Any, None)), "weight must be a number; got None"),
        (lambda: Hammer(sizes=cast(Any, 3)), "sizes must be a list of values that are each a whole number; got 3"),
        (lambda: Hammer(sizes=cast(Any, (1, 2.5))), r"each a whole number; got \(1, 2.5\)"),
        (lambda: Hammer(name=cast(Any, 3)), "name must be a text; got 3"),
        (lambda: PPO(epochs=cast(Any, 2.5)), "epochs must be a whole number; got 2.5"),
        (lambda: PPO(minibatches=cast(Any, True)), "minibatches must be a whole number; got True"),
        (lambda: PPO(target_kl=cast(Any, "0.1")), "target_kl must be a number or None; got '0.1'"),
        (lambda: PPO(schedule=cast(Any, "cosine")), "schedule must be a part, which has a method build; got 'cosine'"),
    ],
)
def test_parts_made_in_python_have_values_of_their_types(make: Any, words: str) -> None:
    """A text ended in a comparison of ours, and half an epoch in the middle of a training."""
    with pytest.raises(ValueError, match=words):
        make()


def test_numbers_of_numpy_and_lists_are_values_too() -> None:
    assert Hammer(weight=cast(Any, np.int64(2)), sizes=cast(Any, [1, 2])).build() == 2
    with pytest.raises(ValueError, match="sizes must be a list of values that are each at least 1"):
        Hammer(sizes=cast(Any, [0]))


def test_paths_are_texts(tmp_path: Path) -> None:
    """Where an option is a text; configurations are stored as JSON."""
    chosen = Omniglot(data_dir=cast(Any, tmp_path), cache_dir=cast(Any, tmp_path / "cache"))
    assert chosen == Omniglot(data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert json.loads(json.dumps(values_of(chosen)))["data_dir"] == str(tmp_path)
    assert hash(chosen) == hash(dataclasses.replace(chosen, data_dir=cast(Any, tmp_path)))
    with pytest.raises(ValueError, match="weight must be a number; got "):
        Hammer(weight=cast(Any, tmp_path))


def test_imports_that_failed_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "halves"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("metarl.parts.REGISTRIES", {})
    registry: Registry[Any] = Registry("half", "halves")
    with pytest.raises(KeyboardInterrupt):
        registry.load()
    (package / "broken.py").write_text("")
    registry.load()
    assert sys.modules.pop("halves.broken")
    del sys.modules["halves"]
