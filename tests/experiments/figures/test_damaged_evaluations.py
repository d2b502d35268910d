"""Evaluations that are damaged, or mixed of several, are one line that names the file; what is written is whole."""

import contextlib
import errno
import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_from_config import changed
from matplotlib.figure import Figure
from PIL import Image
from scripts import refused, run

from metarl.experiments import readme
from metarl.experiments.analysis.stored_curves import read_stored_return_curves
from metarl.experiments.catalogue.studies import STUDIES
from metarl.experiments.commands import command_line
from metarl.experiments.commands.output_files import write_figure, write_table
from metarl.experiments.figures.evaluated_runs import read_run
from metarl.experiments.presets.configuration import preset_config
from metarl.experiments.reproduce import is_evaluated, protocol_rows
from metarl.problem import Evaluation
from metarl.training.evaluation_files import (
    DIGESTS,
    PER_TASK,
    SUMMARY,
    TRACES,
    read_scores,
    read_summary,
    write_evaluation,
)
from metarl.training.run_directory import CONFIG
from metarl.training.statistics import interval_over_seeds

FILES = (PER_TASK, SUMMARY, TRACES)


def evaluated(place: Path, seed: int = 1) -> Path:
    """A run directory with an evaluation of made-up scores of 3 tasks after 0 and 1 steps."""
    place.mkdir()
    config, rng = changed(preset_config("navigation"), seed=seed), np.random.default_rng(seed)
    (place / CONFIG).write_text(json.dumps({"config": config.to_dict()}))
    scores = {name: rng.normal(size=(2, 3)) for name in ("average_return", "achieved")}
    traces: dict[str, Any] = {"mask": np.ones((2, 3, 4, 1)), "observations": rng.normal(size=(2, 3, 4, 1, 2))}
    tasks = rng.uniform(-0.5, 0.5, (3, 2))
    write_evaluation(place, config, Evaluation(scores, traces | {"tasks": tasks}), tasks, iteration=4)
    return place


def test_where_everything_broke_nothing_was_achieved(tmp_path: Path) -> None:
    """An evaluation leaves out what no episode reports; what was commanded is then not drawn, and nothing is missed."""
    config = preset_config("cheetah-vel")
    (tmp_path / CONFIG).write_text(json.dumps({"config": config.to_dict()}))
    tasks = np.array([[0.5], [1.0], [1.5]])
    scores = {"average_return": np.full((2, 3), np.nan), "broken": np.ones((2, 3))}
    for achieved in ({}, {"achieved": np.zeros((2, 3))}):
        write_evaluation(tmp_path, config, Evaluation(scores | achieved, {"tasks": tasks}), tasks, iteration=0)
        commands = read_run(tmp_path).commands
        assert (commands is None) == (not achieved)
    assert commands is not None
    assert commands.wanted.tolist() == [0.5, 1.0, 1.5]
    assert plotted(tmp_path).returncode == 0


def without_digests(place: Path) -> None:
    """As versions before 0.9 left it."""
    document = read_summary(place)
    del document[DIGESTS]
    (place / SUMMARY).write_text(json.dumps(document, indent=2))


def plotted(place: Path) -> Any:
    return run("plot", place, "--output", place.parent / "figure.png", "--table", place.parent / "figure.csv")


def test_a_whole_one_is_drawn_and_older_ones_too(tmp_path: Path) -> None:
    one = evaluated(tmp_path / "run")
    assert plotted(one).returncode == 0
    assert is_evaluated(one)
    without_digests(one)
    result = plotted(one)
    assert result.returncode == 0
    warned = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warned) == 1
    assert f"whether {one / TRACES} is of the evaluation in {SUMMARY} cannot be checked" in warned[0]


def test_scores_of_another_evaluation_are_refused_without_digests(tmp_path: Path) -> None:
    """By their means, which older summaries have, too; a mean may lack, and is of single precision."""
    one, other = evaluated(tmp_path / "one"), evaluated(tmp_path / "other", seed=2)
    without_digests(one)
    document = read_summary(one)
    document["steps"][0]["average_return"]["mean"] *= 1 + 1e-6
    del document["steps"][1]["achieved"]["low"]
    (one / SUMMARY).write_text(json.dumps(document))
    assert set(read_scores(one)) >= {"average_return", "achieved"}
    for steps in (document["steps"][:1], [{**step, "achieved": {"mean": None}} for step in document["steps"]]):
        (one / SUMMARY).write_text(json.dumps({**document, "steps": steps}))
        with pytest.raises(ValueError, match="is damaged, or not of the evaluation that"):
            read_scores(one)
    (one / SUMMARY).write_text(json.dumps(document))
    (one / PER_TASK).write_bytes((other / PER_TASK).read_bytes())
    with pytest.raises(ValueError, match="is damaged, or not of the evaluation that"):
        read_scores(one)


@pytest.mark.parametrize("file", [PER_TASK, TRACES])
def test_files_of_different_evaluations_are_refused_by_name(file: str, tmp_path: Path) -> None:
    """As after a power cut between two of them, or where one was copied from elsewhere."""
    one, other = evaluated(tmp_path / "one"), evaluated(tmp_path / "other", seed=2)
    (one / file).write_bytes((other / file).read_bytes())
    refused(plotted(one), str(one / file), "or not of the evaluation that", str(one / SUMMARY))
    assert not is_evaluated(one)  # reproduce.py makes it anew
    assert not (tmp_path / "figure.png").exists()


def test_a_summary_of_another_evaluation_is_refused(tmp_path: Path) -> None:
    one, other = evaluated(tmp_path / "one"), evaluated(tmp_path / "other", seed=2)
    (one / SUMMARY).write_bytes((other / SUMMARY).read_bytes())
    refused(plotted(one), str(one / PER_TASK), "or not of the evaluation")


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "bytes": lambda data: bytes(range(256)),
    "a list": lambda data: b"[1, 2]",
    "words": lambda data: data.replace(b"0", b"zero").replace(b"PK", b"KP"),
    "another head": lambda data: b"a" + data,
    "a head alone": lambda data: data.partition(b"\n")[0] + b"\n",
    "a short row": lambda data: data.rstrip().rpartition(b",")[0] + b"\n",
    "a row twice": lambda data: data + data.rstrip().rpartition(b"\n")[2] + b"\n",
}


HARMLESS = {(TRACES, damage, "older") for damage in ("another head", "a row twice")}  # zips may stand in other files


@pytest.mark.parametrize(
    ("file", "damage", "version"), sorted({*itertools.product(FILES, DAMAGES, ("present", "older"))} - HARMLESS)
)
def test_damaged_files_are_named(file: str, damage: str, version: str, tmp_path: Path) -> None:
    one = evaluated(tmp_path / "run")
    if version == "older":
        without_digests(one)
    (one / file).write_bytes(DAMAGES[damage]((one / file).read_bytes()))
    with pytest.raises(ValueError, match=file) as error:
        read_run(one)
    assert "\n" not in str(error.value)
    assert not is_evaluated(one)


@pytest.mark.parametrize("file", FILES)
def test_plot_says_so_in_one_line(file: str, tmp_path: Path) -> None:
    one = evaluated(tmp_path / "run")
    (one / file).write_bytes(b"PK\x03\x04 nothing")
    refused(plotted(one), str(one / file))


@pytest.mark.parametrize("change", [{"checkpoint": 7}, {"steps": {}}, {"steps": []}, {"steps": [1]}, {DIGESTS: []}])
def test_summaries_of_other_types_are_named(change: dict[str, Any], tmp_path: Path) -> None:
    one = evaluated(tmp_path / "run")
    (one / SUMMARY).write_text(json.dumps(read_summary(one) | change))
    with pytest.raises(ValueError, match=r"evaluation\.json is damaged, or is not the summary of an evaluation"):
        read_summary(one)


@pytest.mark.parametrize(
    ("name", "content", "block"),
    [
        ("a/table.csv", "", "scores a/table.csv"),
        ("a/table.csv", "method,seeds\nmaml,3,4\n", "scores a/table.csv"),
        ("a/table.csv", "method,seeds,gradient_steps\nmaml,three,0\n", "scores a/table.csv"),
        ("a/table.csv", "method,seeds,gradient_steps\nmaml,3,0\n", "headlines a/table.csv:maml:0:navigation"),
        ("a/benchmark_hvp.json", "[1]", "rows a/benchmark_hvp.json name"),
        ("a/benchmark_hvp.json", '{"hvp": 3}', "rows a/benchmark_hvp.json name"),
        ("a/benchmark_hvp.json", '{"hvp": [{}', "rows a/benchmark_hvp.json name"),
    ],
)
def test_pages_name_their_damaged_tables(
    name: str, content: str, block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / name).write_text(content)
    page = tmp_path / "page.md"
    page.write_text(f"<!-- {block} -->\n<!-- end -->")
    refused(run("readme", "--page", page), str(tmp_path / name))


@pytest.mark.parametrize("rows", ["", "x,1,2\n", "x,a,2,3\n"])
def test_kept_curves_are_named_too(rows: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("run,flags\nx,--seed 1\n")
    (tmp_path / "curves.csv").write_text(f"run,timesteps,before,after\n{rows}")
    with pytest.raises(ValueError, match=r"curves\.csv is damaged"):
        read_stored_return_curves(tmp_path, STUDIES["what-matters"])


def test_protocol_tables_have_intervals_over_seeds() -> None:
    def summary(*means: float | None) -> dict[str, Any]:
        steps = [{"loss": {"mean": mean, "low": 0.5, "high": 9.0, "median": 2.0}} for mean in means]
        return {"steps": steps}

    rows = protocol_rows([summary(1.0, 4.0), summary(2.0, None), summary(6.0, 5.0)])
    low, high = interval_over_seeds(np.array([1.0, 2.0, 6.0]))
    assert rows[0] == {
        "seeds": 3, "gradient_steps": 0, "interval_over": "seeds", "mean": 3.0, "low": low, "high": high, "median": None
    }  # fmt: skip
    assert np.isnan([rows[1]["mean"], rows[1]["low"], rows[1]["high"]]).all()  # a seed diverged
    (one,) = protocol_rows([summary(3.0)])
    assert (one["interval_over"], one["low"], one["high"], one["median"]) == ("tasks", 0.5, 9.0, 2.0)


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg", ".csv"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_names_the_file_and_leaves_what_was_there(
    ending: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"output{ending}"
    path.write_bytes(b"before")

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"cannot write .*output{ending}"):
        if ending == ".csv":
            write_table(path, [{"a": 1}], ["a"])
        else:
            write_figure(path, Figure(), dpi=10)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_png_has_few_colours_among_them_all_that_cover_an_area(tmp_path: Path) -> None:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    for i, color in enumerate(("#0072B2", "#D55E00", "#009E73", "#E69F00")):
        axes.fill_between([0, 3], [i, i], [i + 1, i + 1], color=color, alpha=0.2, linewidth=0)
        axes.plot([0, 1, 2, 3], [0, 3 - i, i, 3], color=color)
    write_figure(tmp_path / "figure.png", figure, dpi=200)
    figure.savefig(tmp_path / "plain.png", dpi=200)
    assert (tmp_path / "figure.png").stat().st_size < 0.7 * (tmp_path / "plain.png").stat().st_size
    few, plain = (np.asarray(Image.open(tmp_path / name).convert("RGB")) for name in ("figure.png", "plain.png"))
    colors, counts = np.unique(plain.reshape(-1, 3), axis=0, return_counts=True)
    kept = np.unique(few.reshape(-1, 3), axis=0)
    assert len(kept) <= 128 < len(colors)
    assert {*map(tuple, colors[counts > 1000].tolist())} <= {*map(tuple, kept.tolist())}
    assert np.abs(few.astype(float) - plain).mean() < 0.5


def test_standard_output_on_a_full_disk_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What was not written is tried once more when the file is closed.
    with contextlib.suppress(OSError), Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit, match="2"):
            command_line.run(list, print, [])
    assert "error: cannot write what is printed to where standard output goes (No space" in capsys.readouterr().err
