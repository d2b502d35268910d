"""Studies: the screening design resolves what it says, and effects and intervals are the textbook's."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scripts import refused, run

import metarl.experiments
from metarl.experiments.analysis.effects import (
    differences_from_base,
    factorial_effects,
    lenth_margin,
    seed_error,
    terms,
)
from metarl.experiments.analysis.stored_curves import (
    ReturnCurve,
    finished_return_curve,
    read_stored_return_curves,
    settings,
    write_return_curves,
    write_table,
)
from metarl.experiments.analysis.study_figures import mean_curve
from metarl.experiments.catalogue.experiment import Training
from metarl.experiments.catalogue.studies import SCREENING_TIMESTEPS, STUDIES, TIMESTEPS
from metarl.experiments.presets.training_arguments import parse
from metarl.experiments.study import complete_seeds, effects_of, run_rows
from metarl.reading import read_table
from metarl.training.tree import flat, with_options

SCREENING = STUDIES["what-matters"].study
assert SCREENING is not None
RESULTS = Path(metarl.experiments.__file__).parent / "results"
LEVELS = np.array([cell.levels for cell in SCREENING.cells if cell.seed == 1])


def test_the_screening_is_of_resolution_four() -> None:
    assert LEVELS.shape == (16, 8)
    assert len(np.unique(LEVELS, axis=0)) == 16
    columns = terms(LEVELS)
    main, groups = list(columns)[:8], list(columns)[8:]
    assert main == list("ABCDEFGH")
    assert [len(name.split(" + ")) for name in groups] == [4] * 7  # all 28 interactions, none of a negative sign
    for one, other in itertools.combinations(columns.values(), 2):
        assert one @ other == 0
    for first, second, third in itertools.combinations(range(8), 3):  # every three factors: a full factorial
        assert len(np.unique(LEVELS[:, [first, second, third]], axis=0)) == 8


def test_a_design_that_confounds_main_effects_is_refused() -> None:
    levels = np.array([[a, b, (a + b) % 2] for a in (0, 1) for b in (0, 1)])
    with pytest.raises(ValueError, match="cannot tell A from BC"):
        terms(levels)


def test_the_runs_of_the_screening_are_named_for_their_levels() -> None:
    runs = {one.name: one for one in STUDIES["what-matters"].runs}
    config = flat(parse(runs["screen-10000111-seed1"].arguments).config)
    wanted = {
        "discount": 0.95, "gae_lambda": 0.95, "hidden_sizes": (100, 100), "activation": "relu", "initial_std": 1.0,
        "max_kl": 0.01, "inner_step_size": 0.15, "tasks": 20, "episodes": 20, "iterations": 60,
        "inner_loss": "likelihood_ratio", "seed": 1,
    }  # fmt: skip
    assert {name: config[name] for name in wanted} == wanted


@pytest.mark.parametrize(("name", "timesteps"), [("what-matters", SCREENING_TIMESTEPS), ("one-at-a-time", TIMESTEPS)])
def test_all_runs_sample_the_same_timesteps(name: str, timesteps: int) -> None:
    for one in STUDIES[name].runs:
        if one.name.endswith("-seed1"):
            flags = settings(one.arguments)
            sizes = [int(flags[size][0]) for size in ("tasks", "episodes", "iterations")]
            batches = 1 + int(flags.get("inner-steps", ("1",))[0])
            assert np.prod(sizes) * batches * 100 == timesteps, one.name


def test_one_at_a_time_starts_from_the_preset() -> None:
    one = STUDIES["one-at-a-time"].runs[0]
    base = settings(one.arguments)
    plain = parse(["cheetah-dir"]).config
    given = parse(one.arguments).config
    assert given == with_options(plain, {"checkpoint_every": 10, "iterations": given.iterations})
    for one in STUDIES["one-at-a-time"].runs:
        other = settings(one.arguments)
        changed = {name for name in base | other if base.get(name) != other.get(name)} - {"seed"}
        # two: discount and lambda, hidden sizes and activation, TRPO and its divergence, a rule and its step size
        assert len(changed - {"iterations", "minibatches"}) <= 2, one.name


@pytest.mark.parametrize("name", [name for name in sorted(STUDIES) if (RESULTS / name).is_dir()])
def test_the_runs_in_the_results_are_runs_of_the_study_as_it_is(name: str) -> None:
    """Else the study would train them anew, and leave theirs out of its tables."""
    made = {row["run"] for row in read_table(RESULTS / name / "runs.csv", ("run",))}
    assert made == set(read_stored_return_curves(RESULTS / name, STUDIES[name]))


def test_effects_of_a_known_response_are_found_exactly() -> None:
    signs = 2 * LEVELS.T - 1
    response = 50 + 10 * signs[0] - 3 * signs[4] + 2 * signs[0] * signs[1]
    effects = {one.term: one.estimate for one in factorial_effects(LEVELS, response[:, None].astype(float))}
    interaction = next(term for term in effects if term.startswith("AB "))
    expected = {"A": 20.0, "E": -6.0, interaction: 4.0}
    for term, estimate in effects.items():
        assert estimate == pytest.approx(expected.get(term, 0.0), abs=1e-12), term


def test_lenths_margin_is_that_of_his_formula() -> None:
    contrasts = np.array([20.0, -6.0, 1.0, -1.0, 0.5, 0.8, -0.2, 0.4, 1.2, -0.7, 0.1, 0.3, -0.9, 0.6, 1.1])
    # the median of all is 0.8, so that those from 3.0 on are left out: the median of the other 13 is 0.7
    assert lenth_margin(contrasts) == pytest.approx(stats.t.ppf(0.975, 5) * 1.5 * 0.7)


def test_lenths_margin_finds_a_true_effect_and_few_false_ones() -> None:
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((2000, 15))
    noise[:, 0] += 8
    found = np.array([np.abs(row) > lenth_margin(row) for row in noise])
    assert found[:, 0].mean() > 0.99
    assert found[:, 1:].mean() < 0.05


def test_the_seeds_error_is_free_of_effects_and_of_the_seeds_own_means_and_intervals_cover() -> None:
    draw = np.random.default_rng(1)
    covered, errors = [], []
    truth = 5.0 * (2 * LEVELS[:, 2] - 1)[:, None]
    for _ in range(500):
        responses = truth + draw.normal(0, 20, (1, 3)) + draw.normal(0, 4, (16, 3))
        errors.append(seed_error(responses)[0])
        effect = next(one for one in factorial_effects(LEVELS, responses) if one.term == "C")
        covered.append(abs(effect.estimate - 10.0) <= effect.margin)
    assert np.mean(np.square(errors)) == pytest.approx(16, rel=0.05)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)


def test_differences_from_the_base_are_paired_by_seed() -> None:
    responses = np.array([[1.0, 11.0], [4.0, 14.0], [2.0, 13.0]])
    effects = differences_from_base(["base", "one", "other"], responses)
    assert [(one.term, one.estimate) for one in effects] == [("one", 3.0), ("other", 1.5)]
    error, freedom = seed_error(responses)
    assert freedom == 2
    assert effects[0].margin == pytest.approx(stats.t.ppf(0.975, 2) * error)
    assert np.isnan(differences_from_base(["base", "one"], responses[:2, :1])[0].margin)


def test_a_curve_is_read_where_the_run_is_finished_and_the_same(tmp_path: Path) -> None:
    one = Training("toy", "cheetah-dir", "--hidden-sizes 8 8 --iterations 5 --seed 1")
    metrics = "iteration,rollout/return_step0,rollout/return_step1,env_steps\n"
    rows = [f"{i},{-i},{2 * i},{100 * (i + 1)}\n" for i in range(5)]
    assert finished_return_curve(tmp_path, one) is None
    command = "train.py cheetah-dir --seed=1 --iterations 5 --hidden-sizes 8 8 --run-dir somewhere --resume"
    (tmp_path / "config.json").write_text(f'{{"command": "{command}"}}')
    (tmp_path / "metrics.csv").write_text(metrics + "".join(rows[:4]))
    assert finished_return_curve(tmp_path, one) is None
    (tmp_path / "metrics.csv").write_text(metrics + "".join(rows))
    curve = finished_return_curve(tmp_path, one)
    assert curve is not None
    assert (curve.end, curve.whole) == (8.0, 4.0)
    assert curve.before.tolist() == [0, -1, -2, -3, -4]
    other = one._replace(flags="--hidden-sizes 9 9 --iterations 5 --seed 1")
    with pytest.raises(ValueError, match="another run: --hidden-sizes is 8 8 there and 9 9 here"):
        finished_return_curve(tmp_path, other)


def curve(level: float, points: int = 30) -> ReturnCurve:
    timesteps = np.linspace(TIMESTEPS / points, TIMESTEPS, points)
    return ReturnCurve(timesteps, np.zeros(points), np.full(points, level))


def test_only_seeds_with_all_their_runs_count_and_kept_curves_are_those_of_the_same_flags(tmp_path: Path) -> None:
    experiment = STUDIES["what-matters"]
    study = experiment.study
    assert study is not None
    of_one = [cell for cell in study.cells if cell.seed == 1]
    curves = {cell.name: curve(float(10 * cell.levels[0])) for cell in of_one[1:]}
    assert effects_of(study, curves) == ({}, 0)
    curves[of_one[0].name] = curve(0.0, points=60)
    curves[next(cell for cell in study.cells if cell.seed == 2).name] = curve(99.0)
    assert complete_seeds(study, curves) == [1]
    effects, seeds = effects_of(study, curves)
    assert seeds == 1
    assert effects["end"][0].estimate == effects["whole"][0].estimate == 10.0
    write_return_curves(tmp_path / "curves.csv", curves)
    flags = {one.name: one.flags for one in experiment.runs}
    changed = of_one[3].name
    write_table(tmp_path / "runs.csv", *run_rows(study, curves, flags | {changed: flags[changed] + " --tasks 7"}))
    kept = read_stored_return_curves(tmp_path, experiment)
    assert set(kept) == set(curves) - {changed}
    assert kept[of_one[1].name].end == curves[of_one[1].name].end


def test_mean_curves_are_of_timesteps_that_all_have() -> None:
    one, other = (
        ReturnCurve(*np.array([[2, 4], [0, 0], [1, 3]])),
        ReturnCurve(*np.array([[1, 2, 3, 4], [0] * 4, [0, 1, 2, 3]])),
    )
    timesteps, mean = mean_curve([one, other])
    assert (timesteps.tolist(), mean.tolist()) == ([2, 4], [1, 3])


def test_mistakes(tmp_path: Path) -> None:
    refused(run("study", "chess"), "unknown study 'chess'", "what-matters")
    refused(
        run("study", "what-matters", "--runs", tmp_path, "--results", tmp_path), "no run of what-matters is finished"
    )
