"""The command line of a tree of parts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import tyro
from tools import BITS, Drill, Hammer, Steel, Wood, Work

from metarl.parts import Part
from metarl.training import flags
from metarl.training.help_texts import listing, paragraphs
from metarl.training.tree import with_options


@dataclass(frozen=True)
class Script:
    """Where it goes."""

    place: str = "here"
    """The folder."""


def parse(*words: str, start: Work | None = None) -> flags.Parsed:
    def make(choices: dict[str, str]) -> Work:
        return with_options(start or Work(), choices)

    return flags.parse(make, Script, words, program="work.py", description="Work.")


def test_flags_are_the_options_of_the_chosen_parts() -> None:
    assert parse().config == Work()
    line = "--tool drill --speed 3 --bit=steel --hardness soft --seed 4 --quiet --place there"
    parsed = parse(*line.split())
    assert parsed.config == Work(seed=4, quiet=True, tool=Drill(speed=3.0, bit=Steel(hardness="soft")))
    assert parsed.script == Script(place="there")
    assert parsed.given == {"tool", "speed", "bit", "hardness", "seed", "quiet"}
    assert parse("--sizes", "1", "2.5").config.sizes == (1.0, 2.5)
    assert parse("--no-quiet", start=Work(quiet=True)).config == Work()
    assert parse("--tool", "drill", start=Work(tool=Drill(speed=9.0))).config.tool.speed == 9.0
    assert parse("--tool", "hammer", "--tool", "drill").config.tool == Drill(bit=Wood())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--speed 3", "--speed is an option of tool drill; tool is hammer here"),
        ("--rouns 3", "there is no option --rouns; did you mean --rounds?"),
        ("--tool saw", "unknown tool 'saw': choose one of drill, hammer, or your own as MODULE:NAME"),
        ("--weight -1", "weight must be a positive number; got -1.0"),
        ("--preset chair", "there is no option --preset"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(line: str, words: str) -> None:
    with pytest.raises(ValueError) as error:
        parse(*line.split())
    assert words in str(error.value)


def test_help_shows_the_chosen_parts_in_groups(printed: Callable[[], str]) -> None:
    with pytest.raises(SystemExit):
        parse("--tool", "drill", "--help")
    shown = printed()
    for words in (
        "--speed",
        "Turns per second",
        "--bit {steel,wood,MODULE:NAME}",
        "--width",
        "What is built",
        "--place",
    ):
        assert words in shown
    for words in ("--weight", "--hardness", "--preset"):
        assert words not in shown


def test_options_of_one_name_are_named() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Two(Part):
        """A tree with an option that its bit has too."""

        width: float = 1.0
        """The same name."""
        bit: Annotated[Any, BITS] = Wood()
        """What turns."""

    with pytest.raises(ValueError, match="Two and bit wood both have an option 'width': rename one"):
        flags.parse(lambda choices: Two(), Script, [], program="two.py", description="Two.")


@dataclass(frozen=True)
class Broken:
    """The arguments of a script."""

    where: str = "here"
    """Words that go on
    in the next line."""


def test_help_is_not_broken_where_its_source_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flags.parse(lambda choices: Work(), Broken, ["--help"], program="work.py", description="Work.")
    assert "Words that go on in the next line. (default: here)" in capsys.readouterr().out


def test_values_of_flags_before_they_are_parsed() -> None:
    line = ["--a-b", "1", "--c=2", "--a_b", "3", "--no-d"]
    assert (flags.value_of(line, "a_b"), flags.value_of(line, "c"), flags.value_of(line, "e")) == ("3", "2", None)
    assert flags.names_given(line) == {"a_b", "c", "d"}


def test_reference_rows() -> None:
    assert flags.reference(Hammer) == [("--weight", "float, a positive number", "2.0", "In kilograms.")]
    rows = {flag: (words, default) for flag, words, default, _ in flags.reference(Work)}
    assert rows["--tool"] == ("a part", "hammer")
    assert rows["--sizes"] == ("float ..., a positive number", "0.1")
    assert rows["--quiet"] == ("bool", "False")
    (hardness,) = (row for row in flags.reference(Steel) if row[0] == "--hardness")
    assert hardness[1:3] == ("soft or hard", "hard")


@dataclass(frozen=True)
class Wordy:
    """Arguments of every shape."""

    place: tyro.conf.Positional[Path] = Path("here")
    """The folder."""
    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names."""
    sizes: tuple[float, ...] | None = None
    """Sizes. Default: those of the run."""
    limit: int | None = None
    """None: no limit."""
    kind: Literal["a", "b"] | None = None
    """Which."""
    calls: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Calls, one a flag."""
    together: bool | None = None
    """At once, or not."""


def test_help_says_what_a_flag_takes_and_no_default_that_is_nothing(printed: Callable[[], str]) -> None:
    with pytest.raises(SystemExit):
        tyro.cli(flags.worded(Wordy), args=["--help"], config=flags.HELP_IS_GIVEN)
    shown = printed()
    for words in (
        "[PLACE] The folder. (default: here)",
        "[NAME ...] Names.",
        "--sizes FLOAT ... Sizes. Default: those of the run. --limit",
        "--limit INT None: no limit. (default: None)",
        "--kind {a,b} Which. --calls STR Calls, one a flag. --together {True,False} At once, or not.",
    ):
        assert words in shown
    assert shown.count("(default") == 2


def test_descriptions_fit_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    text = f"One two three four five six\nseven eight nine.\n\n{listing('tools', {'saw': 'cuts ' * 6, 'axe': 'hits'})}"
    lines = paragraphs(text).splitlines()
    assert lines[:3] == ["  One two three four five six", "  seven eight nine.", "  tools:"]
    assert lines[3:] == [f"    saw  {'cuts ' * 4}".rstrip(), "         cuts cuts", "    axe  hits"]


def test_a_choice_stands_above_the_options_of_the_chosen_part(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--tool", "drill", "--bit", "steel", "--help")
    shown = capsys.readouterr().out
    places = [shown.index(words) for words in ("tool drill options", "--tool", "--speed", "bit steel options", "--bit")]
    assert places == sorted(places)
