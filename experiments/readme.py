"""Write the tables of results in README.md and docs/ anew: python experiments/readme.py [--page PAGE.md].

The tables are made of experiments/results/. They stand between a line that says which, and `<!-- end -->`:

    <!-- scores FILE [STEP ...] -->                    methods x gradient steps
    <!-- rows FILE COLUMN ... -->                      some columns; spaces in their names are written as underscores
    <!-- headlines FILE:METHOD:STEP:PAGE ... -->       single scores of several files; spaces as underscores likewise
    <!-- figure FILE WORDS -->                         a picture
"""

import itertools
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from metarl.experiments.commands.command_line import arguments_of, run
from metarl.experiments.figures.evaluated_runs import interval_in_words
from metarl.files import write_atomically
from metarl.reading import read_object, read_table, reading

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "experiments" / "results"
BLOCK = re.compile(r"(<!-- (scores|rows|figure|headlines) (\S+)([^>]*) -->\n).*?(<!-- end -->)", re.DOTALL)

Row = dict[str, Any]


@dataclass(frozen=True)
class Arguments:
    """Which pages to fill in."""

    page: Path | None = None
    """The Markdown file. Default: README.md, and every page of docs/."""


def main(arguments: Arguments) -> None:
    """Fill in the pages."""
    console = Console()
    for path in [arguments.page] if arguments.page else pages():
        page = path.read_text()
        count = len(BLOCK.findall(page))
        if count:
            write_atomically(path, filled(page, path.parent).encode())
            console.print(f"{count} tables and figures in {path}", highlight=False, soft_wrap=True)


def pages() -> list[Path]:
    """README.md, and every page of docs/ that is written by hand."""
    site = ROOT / "docs"
    return [ROOT / "README.md", *sorted(path for path in site.rglob("*.md") if "_build" not in path.parts)]


def filled(page: str, folder: Path = ROOT) -> str:
    """The page with its tables and figures made anew.

    Args:
        page: its text.
        folder: where the page lies.

    Raises:
        ValueError: a table that does not exist, other than a benchmark's, or that lacks a column.
    """

    def block(match: re.Match[str]) -> str:
        begin, kind, file, words, end = match.groups()
        if kind == "figure":
            lines = [picture(file, words.strip(), folder)]
        elif kind == "headlines":
            lines = headlines([file, *words.split()], folder)
        elif file.startswith("benchmark_") and not (RESULTS / file.partition(":")[0]).is_file():
            lines = ["*Not measured yet.*"]
        else:
            rows = read(file)
            with _showing(file):
                lines = scores(rows, [*map(int, words.split())]) if kind == "scores" else columns(rows, words.split())
        return begin + "\n".join(lines) + "\n" + end

    return BLOCK.sub(block, page)


@contextmanager
def _showing(file: str) -> Iterator[None]:
    """Name the table where this block asks it for a column that it lacks, or for a number that is none."""
    with reading(RESULTS / file.partition(":")[0], "the table that a page shows"):
        try:
            yield
        except KeyError as error:
            raise ValueError(f"it has no column {error}") from error


def read(file: str) -> list[Row]:
    """The rows of a .csv in experiments/results/, or of a benchmark's .json there; FILE:TABLE if it has several."""
    file, _, table = file.partition(":")
    path = RESULTS / file
    if not path.is_file():
        raise ValueError(f"the page shows {file}, which is not in experiments/results")
    if path.suffix == ".json":
        with reading(path, "a benchmark's figures"):
            rows = read_object(path)[path.stem.removeprefix("benchmark_")]
            rows = rows[table] if table else rows
            if not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
                raise ValueError("it must hold a list of rows")
            return rows
    return [*read_table(path, at_least=0)]


def scores(rows: list[Row], steps: list[int]) -> list[str]:
    """Methods (or protocols) x gradient steps: the mean with its 95 % interval, and below it what was published.

    Beside each name is what the intervals are over: its seeds, or of one seed its tasks.
    """
    steps = steps or sorted({int(row["gradient_steps"]) for row in rows})
    table = [["gradient steps", *map(str, steps)]]
    for name, group in itertools.groupby(rows, lambda row: row.get("method") or row["protocol"].replace("-", " ")):
        by_step = {int(row["gradient_steps"]): row for row in group}
        first = next(iter(by_step.values()))
        cells = [_score(by_step[step]) if step in by_step else "" for step in steps]
        table.append([f"**{name}**, {interval_in_words(int(first['seeds']))}", *cells])
        known = [by_step.get(step, {}).get("published") for step in steps]
        if any(known):
            table.append(["published", *(_as_printed(cell, first) if cell else "" for cell in known)])
    return _lines(table)


def headlines(cells: list[str], folder: Path) -> list[str]:
    """Single scores of several tables, each named FILE:METHOD:STEP:PAGE, with links to pages of docs/results/."""
    table = [["experiment", "method", "gradient steps", "metarl", "published"]]
    for cell in cells:
        file, method, step, page = cell.split(":")
        method = method.replace("_", " ")
        rows = read(file)
        with _showing(file):
            found = [row for row in rows if (row["method"], row["gradient_steps"]) == (method, step)]
        if not found:
            raise ValueError(f"the page shows {cell}, and {file} has no such row")
        link = os.path.relpath(ROOT / "docs" / "results" / f"{page}.md", folder.resolve())
        known = found[0].get("published")
        with _showing(file):
            ours = f"{_score(found[0])}, {interval_in_words(int(found[0]['seeds']))}"
            theirs = _as_printed(known, found[0]) if known else ""
            table.append([f"[{_name(found[0], file)}]({link})", method, step, ours, theirs])
    return _lines(table)


def _name(row: Row, file: str) -> str:
    """What a row of scores is of: the experiment; of an experiment with several tables the preset and the table."""
    stem = Path(file).stem
    if stem == "figure":
        return Path(file).parent.name
    return row["preset"] if stem in row["preset"] else f"{row['preset']}, {stem}"


def columns(rows: list[Row], names: list[str]) -> list[str]:
    """Some columns of every row; those with bounds, NAME_low and NAME_high, with their intervals."""
    table = [[name.replace("_", " ") for name in names]]
    return _lines(table + [[_cell(row, name) for name in names] for row in rows])


def _cell(row: Row, name: str) -> str:
    spaced = name.replace("_", " ")
    value = row[name] if name in row or spaced not in row else row[spaced]
    bounds = [_number(bound) for ending in ("low", "high") if (bound := row.get(f"{name}_{ending}"))]
    return _number(value) + (f" [{', '.join(bounds)}]" if bounds else "")


def picture(file: str, words: str, folder: Path) -> str:
    """A figure of experiments/results/ on a page in `folder`; that it is still to be made, where it is not there."""
    if not (RESULTS / file).is_file():
        return f"*{words}: not made yet.*"
    return f"![{words}]({os.path.relpath(RESULTS / file, folder.resolve())})"


def _score(row: Row) -> str:
    interval = [_number(row[name], row).removesuffix(" %") for name in ("low", "high") if row.get(name)]
    if "diverges" in interval:
        return "diverges"
    return _number(row["mean"], row) + (f" [{', '.join(interval)}]" if interval else "")


def _as_printed(value: str, row: Row) -> str:
    """A published number, with no more digits than it was published with."""
    digits = value.lstrip("-0.").replace(".", "")
    return value if len(digits) < 3 and "%" not in _number(value, row) else _number(value, row)


def _number(value: object, row: Row | None = None) -> str:
    """Three significant digits, in per cent where the row is of an accuracy; words as they are."""
    try:
        number = float(str(value)) + 0.0  # -0.0 becomes 0.0
    except ValueError:
        return "" if value is None else str(value).replace("_", " ")
    if row and str(row.get("preset", "")).startswith(("omniglot", "miniimagenet")):
        return f"{100 * number:.1f} %"
    if not math.isfinite(number):
        return "diverges"
    if "." not in str(value) or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}" if abs(number) >= 1e-3 else f"{number:.2g}"


def _lines(table: list[list[str]]) -> list[str]:
    head, *body = (f"| {' | '.join(row)} |" for row in table)
    return [head, f"|{' --- |' * len(table[0])}", *body]


def command(argv: Sequence[str]) -> None:
    """Run the script with these arguments."""
    run(lambda args: arguments_of(Arguments, "readme", __doc__ or "", args), main, argv)


if __name__ == "__main__":
    command(sys.argv[1:])
