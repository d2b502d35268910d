"""No option is dead: another value of it makes other numbers, other files, or a refusal."""

import csv
import functools
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from every_option import CLASSIFICATION, REINFORCEMENT, Case, every_case, write_images

from metarl.experiments import evaluate, train
from metarl.experiments.presets.training_arguments import Arguments, Script
from metarl.parts import MAY_CHANGE
from metarl.rl.problem import MetaRL
from metarl.supervised.datasets import glyphs, omniglot
from metarl.training.callbacks.csv import read_metrics
from metarl.training.checkpoint import load
from metarl.training.config import Config
from metarl.training.interruption import StoppedError
from metarl.training.tree import with_options

CASES = list(every_case())

# Options that a run's numbers cannot show, with what shows them.
BUILT: dict[str, Callable[[Config], Any]] = {
    "compile": lambda config: config.problem.before_training,
    "simulator": lambda config: [config.problem.environment.on(device).device for device in ("cpu", "cuda")],  # pyright: ignore
    "threads": lambda config: config.problem.environment.build(1, horizon=1).process.physics._threads,  # pyright: ignore
}
# May change at a resume, although the training's numbers are others; or must not, although they are not.
SPECIAL = {"iterations", "max_nonfinite", "max_broken", "compile", "device", "data_dir", "grace"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images")
    write_images(place)
    return place


@pytest.fixture(autouse=True)
def small_data(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative folders are those of the small images; a few characters are a whole alphabet."""
    monkeypatch.chdir(images)
    monkeypatch.setattr(omniglot, "ARCHIVES", {"all": ("", 9)})
    monkeypatch.setattr(omniglot, "SPLIT_SIZES", (3, 3, 3))
    monkeypatch.setattr(glyphs, "CLASSES", {"train": 4, "validation": 4, "test": 4})


class Witness:
    """What a run leaves, without times, or the reason why it is refused; and what its evaluation leaves.

    Args:
        config: of the run.
        place: an empty folder.
        hangs: have SIGTERM come in the first iteration, which then takes a while.
    """

    def __init__(self, config: Config, place: Path, *, hangs: bool = False) -> None:
        place.mkdir()
        self.place = place
        self.run: dict[str, Any]
        with pytest.MonkeyPatch.context() as patch:
            if hangs:
                patch.setattr(MetaRL, "collect", hanging(MetaRL.collect))
            try:
                train.main(Arguments(config, Script(place / "run")))
                self.run = left_by(place / "run")
            except StoppedError as error:
                self.run = {"refused": str(error)}
            except ValueError as error:
                self.run = {"refused": str(error).replace(str(place), "")}

    @functools.cached_property
    def scores(self) -> list[list[str]]:
        """The evaluation, of which nobody needs to know where the runs differ; a refused run has none."""
        if "refused" in self.run:
            return []
        try:
            evaluate.main(evaluate.Arguments(self.place / "run", output=self.place / "scores"))
        except ValueError as error:
            return [["refused", str(error).replace(str(self.place), "")]]
        with (self.place / "scores" / "evaluation.csv").open() as file:
            return list(csv.reader(file))

    def differs(self, other: "Witness") -> bool:
        return self.run != other.run or self.scores != other.scores


def left_by(run_dir: Path) -> dict[str, Any]:
    last, previous = load(run_dir / "checkpoint.pt"), run_dir / "checkpoint.previous.pt"
    return {
        "theta": {leaf: tensor.numpy().tobytes() for leaf, tensor in last.theta.items()},
        "iterations": (last.iteration, load(previous).iteration if previous.exists() else None),
        "metrics": [
            {name: value for name, value in row.items() if not name.startswith("time/")}
            for row in read_metrics(run_dir / "metrics.csv")
        ],
        "files": sorted(path.name for path in run_dir.iterdir() if "tfevents" not in path.name),
        "films": sum(path.read_bytes().count(b"GIF8") for path in run_dir.glob("*tfevents*")),
        "cached": sorted(path.name for path in Path("elsewhere").glob("*")),
    }


@pytest.fixture(scope="module")
def known() -> dict[str, Witness]:
    """What runs left, by their configuration."""
    return {}


@pytest.mark.filterwarnings("ignore:.*left out")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_another_value_makes_a_difference(case: Case, known: dict[str, Witness], tmp_path: Path) -> None:
    name = case.option.name
    if name in BUILT:
        assert all(BUILT[name](other) != BUILT[name](case.config) for other in case.others())
        return

    def witness(config: Config) -> Witness:
        key = json.dumps([config.to_dict(), name == "grace"])
        if key not in known:
            known[key] = Witness(config, tmp_path / str(len(known)), hangs=name == "grace")
        return known[key]

    first = witness(case.config)
    assert "theta" in first.run or name == "grace", first.run
    for config in case.others():
        other = witness(config)
        assert other.differs(first), f"{config} leaves the same as with {name} {case.value}"
        if name not in SPECIAL and "refused" not in other.run:
            same = other.run["theta"] == first.run["theta"]
            assert same == (MAY_CHANGE in case.option.markers), "what may change at a resume is no part of the training"


def hanging(collect: Callable[..., Any]) -> Callable[..., Any]:
    def slow(problem: MetaRL, theta: Any, iteration: int) -> Any:
        if iteration == 1:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.3)
        return collect(problem, theta, iteration)

    return slow


def test_every_part_is_there() -> None:
    """A part that nothing can choose is not tested; nor is one whose options nobody looked at."""
    kinds = {case.part.split()[0] for case in CASES if case.part}
    assert kinds == {
        *("environment", "policy", "normalization", "outer_loss", "baseline", "rule", "outer", "dataset", "network"),
        *("problem", "schedule"),
    }
    assert len(CASES) > 75


@pytest.mark.parametrize("config", [REINFORCEMENT, CLASSIFICATION], ids=["reinforcement", "supervised"])
def test_a_run_of_no_size_is_repeated_bitwise(config: Config, tmp_path: Path) -> None:
    """Without this every option would seem to have an effect."""
    first, second = (Witness(with_options(config, {}), tmp_path / name) for name in ("first", "second"))
    assert not first.differs(second)
    assert first.scores
    assert np.isfinite([row["outer/loss"] for row in first.run["metrics"] if "outer/loss" in row]).all()
