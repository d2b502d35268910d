"""A tree of parts: flat values, JSON and back, differences, presets."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from tools import BITS, TOOLS, Basics, Drill, Hammer, Steel, Wood, Work

from metarl.parts import Part
from metarl.training import tree


def test_flat_names_every_option_once_and_choices_by_name() -> None:
    assert tree.flat(Work(tool=Drill(speed=3.0, bit=Steel()))) == {
        "preset": "table",
        "seed": 1,
        "rounds": 5,
        "sizes": (0.1,),
        "tool": "drill",
        "speed": 3.0,
        "bit": "steel",
        "hardness": "hard",
        "quiet": False,
    }


def test_two_parts_with_an_option_of_one_name_are_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Two(Part):
        width: float = 1.0
        bit: Annotated[Any, BITS] = Wood()

    with pytest.raises(ValueError, match="Two and bit wood both have an option 'width'"):
        tree.flat(Two())


def test_options_change_wherever_they_are() -> None:
    work = Work(tool=Drill())
    changed = tree.with_options(work, {"seed": 3, "width": 5.0, "speed": 2.0})
    assert changed == Work(seed=3, tool=Drill(speed=2.0, bit=Wood(width=5.0)))
    assert tree.with_options(changed, {"bit": "wood"}) == changed  # the same choice keeps its options
    assert tree.with_options(changed, {"bit": "steel"}).tool == Drill(speed=2.0, bit=Steel())
    assert tree.with_options(changed, {"tool": "drill", "bit": Steel(hardness="soft")}).tool.bit.hardness == "soft"
    assert tree.with_options(work, {"tool": "hammer", "weight": 9.0}) == Work(tool=Hammer(weight=9.0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("speed", "--speed is an option of tool drill; tool is hammer here"),
        ("width", "--width is an option of bit wood, with tool drill; tool is hammer here"),  # a drill would choose it
        ("rouns", "there is no option --rouns; did you mean --rounds?"),
        ("xyzzy", "there is no option --xyzzy"),
    ],
)
def test_an_option_that_is_not_there_is_refused_with_what_would_be_right(name: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        tree.with_options(Work(), {name: 3})
    assert str(error.value) == words


def test_json_and_back() -> None:
    for work in (Work(), Work(seed=4, sizes=(0.5, 0.25), tool=Drill(speed=1.5, bit=Steel(hardness="soft")))):
        document = tree.to_dict(work)
        assert json.loads(json.dumps(document)) == document
        assert tree.from_dict(Work, document) == work
    assert tree.to_dict(Work())["tool"] == {"name": "hammer", "weight": 2.0}
    assert tree.from_dict(Work, {"tool": {"name": "drill"}}) == Work(tool=Drill())  # what is left out has its default


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"sed": 1}, "unknown configuration field 'sed' of Work"),
        ({"tool": {"name": "hammer", "speed": 1.0}}, "unknown configuration field 'speed' of Hammer"),
        ({"tool": {"name": "saw"}}, "unknown tool 'saw'"),
        ({"tool": "hammer"}, "'tool' must be an object with a name"),
        ({"seed": "1"}, "'seed' must be int; got '1'"),
        ({"seed": True}, "'seed' must be int; got True"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
        ({"sizes": [0.1, "a"]}, "'sizes' must be float; got 'a'"),
        ({"quiet": 0}, "'quiet' must be bool; got 0"),
        ({"tool": {"name": "drill", "bit": {"name": "steel", "hardness": "medium"}}}, "got 'medium'"),
        ([], "must be an object"),
    ],
)
def test_what_json_must_not_say(document: Any, words: str) -> None:
    with pytest.raises(ValueError) as error:
        tree.from_dict(Work, document)
    assert words in str(error.value)


def test_differences_name_all_options_but_those_that_may_change() -> None:
    first = Work(tool=Drill(bit=Wood(width=3.0)))
    assert tree.differences(first, tree.with_options(first, {"rounds": 99})) == []
    second = tree.with_options(first, {"seed": 2, "width": 4.0, "rounds": 7})
    assert [str(one) for one in tree.differences(first, second)] == [
        "seed is 1 there and 2 here",
        "width is 3.0 there and 4.0 here",
    ]
    assert [one.name for one in tree.differences(first, Work())] == ["tool"]  # not the options that only one has
    assert tree.may_change(first) == {"rounds"}


def test_presets_are_flat_values() -> None:
    values = {"seed": 2, "tool": "drill", "bit": "steel", "hardness": "soft", "sizes": [1, 2.0]}
    work = tree.from_flat(Work, values)
    assert work == Work(seed=2, sizes=(1.0, 2.0), tool=Drill(bit=Steel(hardness="soft")))
    assert tree.from_flat(Work, values | {"weight": 1.0}, surplus={"weight"}) == work
    with pytest.raises(ValueError, match="--weight is an option of tool hammer; tool is drill here"):
        tree.from_flat(Work, values | {"weight": 1.0})
    assert tree.from_flat(Work, {"weight": 3.0}).tool == Hammer(weight=3.0)  # of the default choice

    @dataclass(frozen=True, kw_only=True)
    class Needy(Basics):
        tool: Annotated[Any, TOOLS]

    with pytest.raises(ValueError, match="--tool must be given: drill, hammer, or your own as MODULE:NAME"):
        tree.from_flat(Needy, {})
