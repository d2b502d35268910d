"""Several runs in one table and one figure: means over seeds, what tasks command, the README's tables."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built_from_config import changed
from scripts import ROOT, TOY, refused, run

from metarl.experiments.figures.evaluated_runs import Run, label_of, pooled, published, read_run
from metarl.experiments.figures.run_figures import draw
from metarl.experiments.presets.configuration import preset_config
from metarl.experiments.readme import columns, filled, pages, scores
from metarl.training.tree import with_options

pytestmark = pytest.mark.usefixtures("undrawn")
# PAPER: the authors' mean returns after 0, 1 .. gradient steps
PUBLISHED: dict[str, dict[str, tuple[float, ...]]] = {
    "navigation": {
        "maml": (-40.4, -11.7, -3.3, -3.2),
        "oracle": (-2.3,),
        "pretrained": (-40.8, -19.7, -11.7, -8.5),
        "random": (-82.7, -58.0, -53.8, -46.8),
    },
    "cheetah-vel": {
        "maml": (-129.5, -78.6, -66.6, -60.8),
        "oracle": (-54.5,),
        "pretrained": (-158, -135, -128, -134),
        "random": (-255, -254, -247, -231),
    },
    "cheetah-dir": {
        "maml": (-50.7, 293, 313, 316),
        "oracle": (443,),
        "pretrained": (-43, -25, -13, 20),
        "random": (-36, 22, 62, 86),
    },
    "ant-vel": {
        "maml": (30.6, 96.7, 100.1, 101.4),
        "oracle": (107.9,),
        "pretrained": (-1.8, 6.1, 8.5, 9.5),
        "random": (-79, -63, -49, -36),
    },
    "ant-dir": {
        "maml": (8.7, 499, 501, 499),
        "oracle": (525,),
        "pretrained": (3, 1, 7, 7),
        "random": (3, 9, 16, 26),
    },
}


def runs(scores: np.ndarray, *, published: bool) -> list[Run]:
    """One run per row of scores [S, N], of tasks that all share, or of their own."""
    config = preset_config("navigation-paper" if published else "navigation")
    return [
        Run(Path("run"), changed(config, seed=seed), "maml", config.protocol, row[None], [])
        for seed, row in enumerate(scores)
    ]


def test_intervals_are_of_seeds_too() -> None:
    """A seed is one policy, better or worse on all tasks: the more seeds differ, the wider the intervals."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 10.0, (3, 40))
    widths: dict[str, list[float]] = {"mean": [], "interquartile_mean": []}
    for difference in (0.0, 20.0):
        scores = noise + difference * np.array([-1.0, 0.0, 1.0])[:, None]
        (summary,) = pooled(runs(scores, published=True))
        assert summary["mean"] == pytest.approx(scores.mean())
        for name, low, high in (("mean", "low", "high"), ("interquartile_mean", "iqm_low", "iqm_high")):
            assert summary[low] < summary[name] < summary[high]
            widths[name].append(summary[high] - summary[low])
    assert all(wide > 3 * narrow > 0 for narrow, wide in widths.values())


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "maml"),
        ({"first_order": True}, "maml, first order"),
        ({"rule": "cavia"}, "CAVIA"),
        ({"rule": "anil", "first_order": True}, "ANIL, first order"),
        ({"rule": "meta-sgd"}, "Meta-SGD"),
        ({"rule": "lslr", "learned_steps": 1}, "LSLR"),
        ({"rule": f"{ROOT / 'examples' / 'own_rule.py'}:Cautious"}, "maml, .*own_rule.py:Cautious"),
        ({"rule": "mistaken:WrongRule"}, "maml, mistaken:WrongRule"),  # which derives from SGD
        ({"rule": "cavia", "method": "random"}, "random"),
    ],
)
def test_runs_are_called_by_their_algorithm(options: dict[str, Any], label: str) -> None:
    assert re.fullmatch(label, label_of(changed(preset_config("navigation"), **options)))


def test_what_tasks_command_is_scored_and_drawn(tmp_path: Path) -> None:
    trained = run("train", "cheetah-vel", "--outer", "trpo", *TOY, "--run-dir", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    evaluated = run("evaluate", tmp_path / "run")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "off the" in evaluated.stdout
    one = read_run(tmp_path / "run")
    assert one.commands is not None
    assert one.commands.achieved.shape == (3, 3)
    of_mean = np.abs(one.commands.achieved - one.commands.wanted)
    rows = (tmp_path / "run" / "evaluation.csv").read_text().splitlines()
    column = rows[0].split(",").index("error")
    errors = np.array([float(row.split(",")[column]) for row in rows[1:]])
    assert (errors >= of_mean.ravel() - 1e-6).all()
    longer = one.commands._replace(achieved=np.concatenate([one.commands.achieved] * 3))  # more steps than colours
    assert len(draw({"maml": [dataclasses.replace(one, commands=longer)]}).axes[-1].lines) == 4
    panel = draw({"maml": [one]}).axes[-1]
    assert panel.get_xlabel() == "commanded velocity [m/s]"
    np.testing.assert_allclose(np.asarray(panel.lines[1].get_ydata()), one.commands.achieved[0])


@pytest.mark.parametrize("experiment", ["navigation", "cheetah-vel", "cheetah-dir", "ant-vel", "ant-dir"])
@pytest.mark.parametrize("method", ["maml", "pretrained", "oracle", "random"])
def test_published_means_stand_beside_what_was_measured_as_they_were(experiment: str, method: str) -> None:
    config = preset_config(f"{experiment}-paper", method)
    protocol = config.protocol | {"checkpoint": config.evaluation_checkpoint}
    one = Run(Path("run"), config, method, protocol, np.zeros((1, 40)), [])
    theirs = published([one])
    for step, mean in enumerate(PUBLISHED[experiment][method]):
        assert theirs[step] == pytest.approx(mean, rel=0.02, abs=0.6)
    assert not published([dataclasses.replace(one, label="maml, first order")])
    for name, value in (("counting", "episodes"), ("tasks", 10), ("step_sizes", [1.0]), ("episodes", 7)):
        assert not published([dataclasses.replace(one, protocol=protocol | {name: value})])
    assert not published([dataclasses.replace(one, config=with_options(config, {"horizon": 7}))])


def test_figures_draw_published_curves_dashed_bands_and_an_oracle_from_side_to_side() -> None:
    methods = {}
    for method, steps in (("maml", 3), ("oracle", 1)):
        config = preset_config("cheetah-vel-paper", method)
        scores = np.random.default_rng(0).normal(0.0, 1.0, (steps, 40))
        protocol = config.protocol | {"checkpoint": config.evaluation_checkpoint}
        methods[method] = [Run(Path("run"), config, method, protocol, scores, [])]
    axes = draw(methods).axes[1]
    lines = {str(line.get_label()): line for line in axes.lines}
    assert set(lines) == {
        "maml (1 seed, over tasks)",
        "maml, published",
        "oracle (1 seed, over tasks)",
        "oracle, published",
    }
    assert lines["maml, published"].get_linestyle() == lines["oracle, published"].get_linestyle() == "--"
    np.testing.assert_allclose(np.asarray(lines["maml, published"].get_ydata())[:2], [-129.5, -78.6], atol=0.1)
    np.testing.assert_allclose(
        np.asarray(lines["maml (1 seed, over tasks)"].get_ydata()), methods["maml"][0].scores.mean(1)
    )
    np.testing.assert_allclose(np.asarray(lines["oracle (1 seed, over tasks)"].get_xdata()), [0, 2])
    assert len(axes.collections) == 2  # bands


def test_thick_learning_curves_are_running_means_over_the_seeds() -> None:
    config, rng = changed(preset_config("navigation"), iterations=200), np.random.default_rng(0)
    returns = rng.normal(0.0, 1.0, (2, 200, 2))  # seed, iteration, before and after
    names = ("rollout/return_step0", "rollout/return_step1")
    both = [
        Run(
            *(Path("run"), changed(config, seed=seed), "maml", config.protocol, np.zeros((1, 4))),
            [
                {"iteration": float(i), "outer/nonfinite": 0.0, **dict(zip(names, pair, strict=True))}
                for i, pair in enumerate(rows)
            ],
        )
        for seed, rows in enumerate(returns)
    ]
    axes = draw({"maml": both}).axes[0]
    assert axes.get_title() == "meta-training, running mean of 4"
    lines = {str(line.get_label()): line for line in axes.lines if not str(line.get_label()).startswith("_")}
    for step, words in enumerate(("before", "after")):
        expected = np.convolve(returns[:, :, step].mean(0), np.full(4, 0.25), mode="valid")
        line = lines[f"maml, {words} adaptation"]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), expected, atol=1e-12)
        np.testing.assert_allclose(np.asarray(line.get_xdata()), np.arange(197) + 1.5)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_pages_show_what_was_committed(page: Path) -> None:
    text = page.read_text()
    assert filled(text, page.parent) == text, "run experiments/readme.py"
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (page.parent / picture).is_file(), picture


def test_there_are_tables_of_every_experiment() -> None:
    everything = "".join(page.read_text() for page in pages())
    assert everything.count("<!-- scores") >= 10
    for table in (ROOT / "experiments" / "results").glob("*/figure.csv"):
        assert f"<!-- scores {table.parent.name}/figure.csv" in everything


def test_columns_have_intervals_and_figures_are_shown_once_they_are_there() -> None:
    row = {"max KL": "0.03", "end": "12.3", "end_low": "-1.0", "end_high": "25.6"}
    assert columns([row], ["max_KL", "end"])[0] == "| max KL | end |"
    assert columns([row], ["max_KL", "end"])[2] == "| 0.0300 | 12.3 [-1.00, 25.6] |"
    shown = "<!-- figure navigation-paper/figure.png Paths -->\n<!-- end -->"
    assert "![Paths](../experiments/results/navigation-paper/figure.png)" in filled(shown, ROOT / "docs")
    assert "*Paths: not made yet.*" in filled(shown.replace("figure.png", "no.png"), ROOT / "docs")


def test_a_benchmark_that_was_not_run_is_no_mistake() -> None:
    begin = "<!-- rows benchmark_of_nothing.json:table seconds -->\n"
    assert filled(f"{begin}<!-- end -->") == f"{begin}*Not measured yet.*\n<!-- end -->"


def test_readme_tables_by_hand() -> None:
    row = {"preset": "navigation-paper", "method": "maml", "seeds": "3", "gradient_steps": "0", "mean": "-40.656"}
    table = scores([row | {"low": "-44.32", "high": "-36.33", "published": "-40.41"}], [])
    assert table[2:] == ["| **maml**, 3 seeds | -40.7 [-44.3, -36.3] |", "| published | -40.4 |"]
    printed = scores([row | {"low": "", "high": "", "published": "-0.38"}], [])
    assert printed[3] == "| published | -0.38 |"
    assert columns([{"gain": "-0.0"}], ["gain"])[2] == "| 0 |"
    few = {"preset": "omniglot-5way-1shot", "method": "maml", "seeds": "1", "gradient_steps": "3", "mean": "0.9791"}
    assert (
        scores([few | {"low": "0.972", "high": "0.984"}], [3])[2]
        == "| **maml**, 1 seed, over tasks | 97.9 % [97.2, 98.4] |"
    )
    assert scores([few | {"preset": "sinusoid", "mean": "nan", "low": "", "high": ""}], [3])[2].endswith("| diverges |")


def test_single_scores_have_links_to_their_pages() -> None:
    begin = "<!-- headlines navigation-paper/figure.csv:maml:1:navigation sinusoid/5shot.csv:maml:1:sinusoid -->\n"
    lines = filled(f"{begin}<!-- end -->", ROOT / "docs").splitlines()
    assert lines[3].startswith("| [navigation-paper](results/navigation.md) | maml | 1 | -10.7 [")
    assert lines[3].endswith(", 3 seeds | -11.7 |")
    assert lines[4].startswith("| [sinusoid, 5shot](results/sinusoid.md)")
    with pytest.raises(ValueError, match="no such row"):
        filled("<!-- headlines sinusoid/5shot.csv:oracle:1:sinusoid -->\n<!-- end -->")


def test_readme_mistakes_are_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text, words in (
        ("<!-- scores no/such.csv -->\n<!-- end -->", "no/such.csv"),
        ("<!-- rows outer-step/cheetah-dir.csv seed colour -->\n<!-- end -->", "colour"),
    ):
        page.write_text(text)
        refused(run("readme", "--page", page), words)
        assert page.read_text() == text


@pytest.mark.parametrize("text", ["no tables", "<!-- scores a.csv -->, never ended"])
def test_readme_without_tables_stays(text: str) -> None:
    assert filled(text) == text
