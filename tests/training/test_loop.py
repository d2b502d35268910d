import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import TOY

from experiments.assemble import make_outer, make_problem
from metarl.engine.params import Params, ravel
from metarl.rl.losses import mean_kl
from metarl.training.checkpoint import Checkpoint, load
from metarl.training.config import Config
from metarl.training.logger import read_metrics
from metarl.training.loop import train


class KilledError(Exception):
    pass


def run(config: Config, run_dir: Path, *, resume: bool = False, kill_at: int | None = None) -> Checkpoint:
    """Train; with `kill_at`, die in the middle of that iteration, after its rollouts."""
    problem = make_problem(config)
    if kill_at is not None:
        collect = problem.collect

        def dying(theta: Params, iteration: int) -> Any:
            result = collect(theta, iteration)
            if iteration == kill_at:
                raise KilledError
            return result

        problem.collect = dying  # pyright: ignore[reportAttributeAccessIssue]
    return train(problem, make_outer(config), config, run_dir, Console(file=io.StringIO()), resume=resume)


def timeless(run_dir: Path) -> list[dict[str, float]]:
    rows = read_metrics(run_dir / "metrics.csv")
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


@pytest.mark.parametrize("outer", ["trpo", "adam"])
@pytest.mark.parametrize("kill_at", [0, 1, 2, 3])
def test_a_killed_run_resumes_bitwise(tmp_path: Path, outer: Any, kill_at: int) -> None:
    config = dataclasses.replace(TOY, outer=outer, checkpoint_every=2, evaluate_every=3)
    run(config, tmp_path / "whole")
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", kill_at=kill_at)
    run(config, tmp_path / "killed", resume=True)
    for name in ("checkpoint.pt", "best.pt"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "whole")
    assert [row["iteration"] for row in timeless(tmp_path / "killed")] == [0, 1, 2, 3, 4]  # 4: scores at the end


def test_a_resume_computes_only_what_is_missing(tmp_path: Path) -> None:
    """Iterations are keyed, so a silent restart would end in the same bytes: count what is collected."""
    with pytest.raises(KilledError):
        run(dataclasses.replace(TOY, checkpoint_every=2), tmp_path / "a", kill_at=3)
    for expected in ([2, 3], []):
        problem, collected = make_problem(TOY), []
        collect = problem.collect

        def counting(theta: Params, iteration: int, collect: Any = collect, collected: list = collected) -> Any:
            collected.append(iteration)
            return collect(theta, iteration)

        problem.collect = counting  # pyright: ignore[reportAttributeAccessIssue]
        config = dataclasses.replace(TOY, checkpoint_every=2)
        train(problem, make_outer(config), config, tmp_path / "a", Console(file=io.StringIO()), resume=True)
        assert collected == expected


@pytest.mark.parametrize("missing", ["checkpoint.pt", "best.pt"])
def test_a_run_that_lost_a_checkpoint_is_not_overwritten(tmp_path: Path, missing: str) -> None:
    run(TOY, tmp_path / "a")
    (tmp_path / "a" / missing).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(ValueError, match=f"no checkpoint at .*{missing}"):
        run(TOY, tmp_path / "a", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path: Path) -> None:
    one, two = run(TOY, tmp_path / "a"), run(TOY, tmp_path / "b")
    assert torch.equal(ravel(one.theta), ravel(two.theta))
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b")
    other = run(dataclasses.replace(TOY, seed=2), tmp_path / "c")
    assert not torch.equal(ravel(one.theta), ravel(other.theta))


def test_more_iterations_go_on_where_fewer_ended(tmp_path: Path) -> None:
    run(dataclasses.replace(TOY, iterations=2), tmp_path / "a")
    longer = run(TOY, tmp_path / "a", resume=True)
    assert torch.equal(ravel(longer.theta), ravel(run(TOY, tmp_path / "b").theta))


def test_metrics_have_their_stable_names_in_csv_and_tensorboard(tmp_path: Path) -> None:
    run(dataclasses.replace(TOY, evaluate_every=2), tmp_path / "a")
    rows = read_metrics(tmp_path / "a" / "metrics.csv")
    always = {
        "rollout/return_step0", "rollout/return_step1", "rollout/diverged", "env_steps", "policy/std",
        "inner/update_norm", "outer/loss", "outer/improvement", "outer/kl", "outer/backtracks", "outer/accepted",
        "outer/grad_norm", "outer/nonfinite", "outer/cg_iterations",
        "time/sample", "time/adapt", "time/outer", "time/iteration",
        "time/env_steps_per_s",
    }  # fmt: skip
    sometimes = {"evaluation/return_step0", "evaluation/return_step1", "evaluation/return_step2"}
    assert set(rows[1]) == always | {"iteration"}
    assert set(rows[2]) == always | sometimes | {"iteration"}
    events = EventAccumulator(str(tmp_path / "a")).Reload()
    assert set(events.Tags()["scalars"]) == always | sometimes
    assert set(rows[-1]) == sometimes | {"iteration"}  # the final parameters
    for name in always:
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        np.testing.assert_allclose(logged, [(row["iteration"], row[name]) for row in rows[:-1]], rtol=1e-6)


def test_tensorboard_has_no_gap_and_no_duplicate_after_a_resume(tmp_path: Path) -> None:
    config = dataclasses.replace(TOY, checkpoint_every=2)
    with pytest.raises(KilledError):
        run(config, tmp_path / "a", kill_at=3)  # iterations 0 .. 2 are logged, the checkpoint has 2 of them
    run(config, tmp_path / "a", resume=True)
    events = EventAccumulator(str(tmp_path / "a")).Reload()
    assert [event.step for event in events.Scalars("outer/kl")] == [0, 1, 2, 3]


def test_best_holds_the_parameters_that_earned_the_best_return(tmp_path: Path) -> None:
    run(TOY, tmp_path / "a")
    rows = read_metrics(tmp_path / "a" / "metrics.csv")
    best = load(tmp_path / "a" / "best.pt")
    returns = [row["rollout/return_step1"] for row in rows]
    assert best.iteration == int(np.argmax(returns))
    assert best.best_score == max(returns)
    _, metrics = make_problem(TOY).collect(best.theta, best.iteration)
    assert metrics["rollout/return_step1"] == max(returns)


def test_a_run_of_zero_iterations_leaves_fresh_parameters(tmp_path: Path) -> None:
    state = run(dataclasses.replace(TOY, method="random"), tmp_path / "a")
    assert torch.equal(ravel(state.theta), ravel(make_problem(TOY).initial_parameters(TOY.seed)))
    assert load(tmp_path / "a" / "best.pt").best_score == -math.inf


def test_rejected_line_searches_are_counted_on_the_console(tmp_path: Path) -> None:
    problem = make_problem(TOY)
    problem.functions = problem.functions._replace(divergence=lambda old, new, batch: mean_kl(old, new, batch) + 1)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140)
    train(problem, make_outer(TOY), TOY, tmp_path / "a", console)
    assert "4 of 4 steps rejected" in stream.getvalue()
    assert [row["outer/accepted"] for row in read_metrics(tmp_path / "a" / "metrics.csv")] == [0, 0, 0, 0]
