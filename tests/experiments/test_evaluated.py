"""Several runs in one table and one figure: means over seeds, what tasks command, the README's tables."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scripts import ROOT, TOY, refused, run

from experiments.evaluated import Run, pooled, read_run
from experiments.figures import draw
from experiments.presets import RL_PRESETS
from experiments.readme import filled, scores


def runs(scores: np.ndarray, *, published: bool) -> list[Run]:
    """One run per row of scores [S, N], of tasks that all share, or of their own."""
    config = RL_PRESETS["navigation-paper" if published else "navigation"][1]
    return [
        Run(Path("run"), dataclasses.replace(config, seed=seed), "maml", {}, row[None], [])
        for seed, row in enumerate(scores)
    ]


def test_interval_of_the_mean_is_of_tasks_and_that_of_the_middle_of_seeds_too() -> None:
    """A seed is one policy, better or worse on all tasks: the more seeds differ, the wider their interval."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 10.0, (3, 40))
    widths, means = [], []
    for difference in (0.0, 20.0):
        scores = noise + difference * np.array([-1.0, 0.0, 1.0])[:, None]
        (summary,) = pooled(runs(scores, published=True))
        widths.append(summary["iqm_high"] - summary["iqm_low"])
        means.append(summary["high"] - summary["low"])
        assert summary["iqm_low"] < summary["interquartile_mean"] < summary["iqm_high"]
        assert summary["mean"] == pytest.approx(scores.mean())
    assert widths[1] > 3 * widths[0] > 0
    assert means[1] == pytest.approx(means[0])  # of tasks alone


def test_interval_of_the_middle_covers_as_often_as_it_says() -> None:
    """3 seeds with tasks of their own, and no difference between them: at least as often, for seeds are drawn, too."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        (summary,) = pooled(runs(rng.normal(2.0, 3.0, (3, 20)), published=False))
        covered += summary["iqm_low"] <= 2.0 <= summary["iqm_high"]
    assert covered >= 178


def test_what_tasks_command_is_scored_and_drawn(tmp_path: Path) -> None:
    trained = run("train", "cheetah-vel", *TOY, "--run-dir", tmp_path / "run")
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
    assert panel.get_xlabel() == "commanded: velocity [m/s]"
    np.testing.assert_allclose(np.asarray(panel.lines[1].get_ydata()), one.commands.achieved[0])


def test_readme_shows_what_was_committed() -> None:
    page = (ROOT / "README.md").read_text()
    assert page.count("<!-- scores") >= 5
    assert filled(page) == page, "run experiments/readme.py"


def test_readme_tables_by_hand() -> None:
    row = {"preset": "navigation-paper", "method": "maml", "seeds": "3", "gradient_steps": "0", "mean": "-40.656"}
    table = scores([row | {"low": "-44.32", "high": "-36.33", "published": "-40.41"}], [])
    assert table[2:] == ["| **maml**, 3 seeds | -40.7 [-44.3, -36.3] |", "| published | -40.4 |"]
    few = {"preset": "omniglot-5way-1shot", "method": "maml", "seeds": "1", "gradient_steps": "3", "mean": "0.9791"}
    assert scores([few | {"low": "0.972", "high": "0.984"}], [3])[2] == "| **maml**, 1 seed | 97.9 % [97.2, 98.4] |"
    assert scores([few | {"preset": "sinusoid", "mean": "nan", "low": "", "high": ""}], [3])[2].endswith("| diverges |")


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
