import dataclasses

import pytest
import torch

from metarl.engine.outer import OUTERS
from metarl.metrics import Metric, MetricTable, number, over_ranks
from metarl.rl.episode_metrics import MEASURES
from metarl.supervised.metrics import measures
from metarl.training import loop

RETURN = Metric(name="rollout/return_step{k}", meaning="return", word="return", reduction="mean")
COUNT = Metric(name="rollout/diverged", meaning="episodes", reduction="sum")
TIME = Metric(name="time/sample", meaning="time", unit="s")
TABLE = MetricTable(RETURN, COUNT, TIME)


def test_a_declaration_is_found_by_every_name_it_has() -> None:
    assert TABLE.find("rollout/return_step12") is RETURN
    assert TABLE.find("rollout/diverged") is COUNT
    for name in ("rollout/return_step", "rollout/return_stepx", "rollout/return_step1/x", "diverged", ""):
        assert TABLE.find(name) is None
    assert RETURN.at(3) == "rollout/return_step3"
    values = {"rollout/return_step10": 3.0, "rollout/return_step2": 2.0, "time/sample": 1.0}
    assert list(RETURN.steps(values).items()) == [(2, 2.0), (10, 3.0)]
    assert TIME.steps(values) == {0: 1.0}


def test_labels_are_words_with_units() -> None:
    assert (RETURN.label, COUNT.label, TIME.label) == ("return", "diverged", "sample [s]")


def test_one_name_has_one_meaning() -> None:
    assert len(list(TABLE + MetricTable(COUNT))) == 3
    with pytest.raises(ValueError, match="'rollout/diverged' is declared twice"):
        MetricTable(*TABLE, dataclasses.replace(COUNT, meaning="something else"))


def test_ranks_reduce_as_declared() -> None:
    totals = {
        "rollout/return_step0": (torch.tensor(6.0), torch.tensor(4)),
        "rollout/return_step1": (0.0, 0),  # no episode that counts
        "rollout/diverged": (2.0, 8),
        "reward/speed_step0": (0.0, 8),
        "rollout/broken_reward": (0.0, 8),
    }
    rare = Metric(name="rollout/broken_{name}", meaning="broken", reduction="mean", sparse=True)
    table = TABLE + MetricTable(rare, Metric(name="reward/{name}_step{k}", meaning="a term", reduction="mean"))
    calls = []

    def reduce(total: torch.Tensor) -> torch.Tensor:  # another rank has the same
        calls.append(total)
        return 2 * total

    metrics = over_ranks(totals, table, reduce)
    assert metrics == {"rollout/return_step0": 1.5, "rollout/diverged": 4.0, "reward/speed_step0": 0.0}
    assert [call.dtype for call in calls] == [torch.float64]
    with pytest.raises(ValueError, match="metric 'x' is not declared"):
        over_ranks({"x": (1.0, 1)}, TABLE, reduce)


def test_every_problem_has_headlines_and_no_two_meanings_of_a_name() -> None:
    for problem in (MEASURES, measures("regression"), measures("classification")):
        for outer in OUTERS.names:
            table = problem + MetricTable(*OUTERS.find(outer)().build().measures, *loop.MEASURES)
            assert all(metric.meaning for metric in table)
            assert {bool(metric.score) for metric in table.headlines} == {True, False}  # validation and training
            assert all(metric.higher_is_better is not None for metric in table.headlines)
    assert {one.name for one in measures("regression").headlines} == {"train/loss_step{k}", "validation/loss_step{k}"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(11840.0, "11840"), (-1234567.8, "-1234568"), (9999.6, "10000"), (473.25, "473.2"), (0.00012345, "0.0001234")],
)
def test_numbers_have_no_powers_of_ten(value: float, shown: str) -> None:
    assert number(value) == shown


def test_three_digits_are_shown_where_asked_for() -> None:
    assert [number(value, digits=3) for value in (1234.5, 999.6, 99.96, -0.012345)] == [
        "1234",
        "1000",
        "100",
        "-0.0123",
    ]
