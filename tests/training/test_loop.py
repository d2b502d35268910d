import errno
import io
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from built_from_config import changed, make_outer, make_problem
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy import TOY

from metarl.engine.objective import MetaObjective
from metarl.engine.params import Params, ravel
from metarl.experiments.commands.training_callbacks import callbacks
from metarl.problem import Problem
from metarl.rl.losses import mean_kl
from metarl.training.callbacks.csv import read_metrics
from metarl.training.checkpoint import load
from metarl.training.config import Config
from metarl.training.interruption import StoppedError
from metarl.training.run_directory import identity_of
from metarl.training.runs import train
from metarl.training.state import TrainState


class KilledError(Exception):
    pass


def run(config: Config, run_dir: Path, *, resume: bool = False, kill_at: int | None = None) -> TrainState:
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
    return train_as(config, problem, run_dir, resume=resume)


def train_as(
    config: Config, problem: Problem, run_dir: Path, console: Console | None = None, *, resume: bool = False
) -> TrainState:
    """As the command line would."""
    return train(
        problem,
        make_outer(config),
        run_dir=run_dir,
        iterations=config.outer_steps,
        seed=config.seed,
        sinks=callbacks(config, problem, run_dir, console or Console(file=io.StringIO())),
        resume=resume,
        checkpoint_every=config.checkpoint_every,
        max_nonfinite=config.max_nonfinite,
        config=identity_of(config),
    )


def timeless(run_dir: Path) -> list[dict[str, float]]:
    rows = read_metrics(run_dir / "metrics.csv")
    return [{name: value for name, value in row.items() if not name.startswith("time/")} for row in rows]


@pytest.fixture(scope="module", params=["trpo", "adam"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """A run that nothing interrupts."""
    config = changed(TOY, outer=request.param, checkpoint_every=2, evaluate_every=3)
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    run(config, run_dir)
    return config, run_dir


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of TOY, for comparisons: tests leave it as it is."""
    run_dir = tmp_path_factory.mktemp("plain") / "run"
    run(TOY, run_dir)
    return run_dir


@pytest.mark.parametrize("kill_at", [0, 1, 2, 3])
def test_a_killed_run_resumes_bitwise(whole: tuple[Config, Path], tmp_path: Path, kill_at: int) -> None:
    config, unbroken = whole
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed", kill_at=kill_at)
    run(config, tmp_path / "killed", resume=True)
    for name in ("checkpoint.pt", "best.pt"):
        assert (tmp_path / "killed" / name).read_bytes() == (unbroken / name).read_bytes()
    assert timeless(tmp_path / "killed") == timeless(unbroken)
    assert [row["iteration"] for row in timeless(tmp_path / "killed")] == [0, 1, 2, 3, 4]  # 4: scores at the end


def test_a_resume_computes_only_what_is_missing(tmp_path: Path) -> None:
    """Iterations are keyed, so a silent restart would end in the same bytes: count what is collected."""
    with pytest.raises(KilledError):
        run(changed(TOY, checkpoint_every=2), tmp_path / "a", kill_at=3)
    for expected in ([2, 3], []):
        problem, collected = make_problem(TOY), []
        collect = problem.collect

        def counting(theta: Params, iteration: int, collect: Any = collect, collected: list = collected) -> Any:
            collected.append(iteration)
            return collect(theta, iteration)

        problem.collect = counting  # pyright: ignore[reportAttributeAccessIssue]
        config = changed(TOY, checkpoint_every=2)
        train_as(config, problem, tmp_path / "a", resume=True)
        assert collected == expected


@pytest.mark.parametrize("more", [[], ["metrics.csv"]])
def test_a_run_that_lost_its_checkpoints_is_not_overwritten(tmp_path: Path, more: list[str]) -> None:
    run(TOY, tmp_path / "a")
    (tmp_path / "a" / "best.pt").write_bytes((tmp_path / "a" / "checkpoint.pt").read_bytes())  # no initial ones
    for name in ("checkpoint.pt", "checkpoint.previous.pt", *more):
        (tmp_path / "a" / name).unlink()
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(ValueError, match=r"no checkpoint at .*checkpoint\.pt"):
        run(TOY, tmp_path / "a", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


@pytest.mark.parametrize("content", [None, b"PK"])
def test_a_run_that_lost_its_best_parameters_goes_on(tmp_path: Path, content: bytes | None, plain: Path) -> None:
    run(changed(TOY, iterations=2), tmp_path / "a")
    best = tmp_path / "a" / "best.pt"
    best.unlink() if content is None else best.write_bytes(content)
    with pytest.warns(UserWarning, match=r"best\.pt.*; the best parameters from here on take its place"):
        run(TOY, tmp_path / "a", resume=True)
    a, whole = (load(run_dir / "checkpoint.pt") for run_dir in (tmp_path / "a", plain))
    assert torch.equal(ravel(a.theta), ravel(whole.theta))
    assert load(best).iteration >= 2


def test_rows_that_metrics_lost_are_named(tmp_path: Path) -> None:
    run(changed(TOY, iterations=3), tmp_path / "a")
    metrics = tmp_path / "a" / "metrics.csv"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
    with pytest.warns(UserWarning, match=r"metrics\.csv has lost what follows iteration 0: the run goes on from 3"):
        run(TOY, tmp_path / "a", resume=True)


@pytest.mark.parametrize("content", [None, b"", b"PK", "half"])
def test_a_run_goes_on_from_the_checkpoint_before_a_broken_one(
    tmp_path: Path, content: bytes | str | None, plain: Path
) -> None:
    with pytest.raises(KilledError):
        run(TOY, tmp_path / "a", kill_at=3)
    last = tmp_path / "a" / "checkpoint.pt"
    if content is None:
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:1000] if isinstance(content, str) else content)
    with pytest.warns(UserWarning, match=r"checkpoint\.pt.*the one before it, of iteration 2, is taken"):
        run(TOY, tmp_path / "a", resume=True)
    for name in ("checkpoint.pt", "best.pt"):
        assert (tmp_path / "a" / name).read_bytes() == (plain / name).read_bytes()
    assert timeless(tmp_path / "a") == timeless(plain)


def test_what_was_fallen_back_to_outlives_a_failing_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(changed(TOY, iterations=3), tmp_path / "a")
    (tmp_path / "a" / "checkpoint.pt").write_bytes(b"PK")
    monkeypatch.setattr("metarl.training.callbacks.checkpoints.save", failing_save)
    with pytest.warns(UserWarning, match="iteration 2, is taken"), pytest.raises(OSError, match="full"):
        run(TOY, tmp_path / "a", resume=True)
    for name in ("checkpoint.pt", "checkpoint.previous.pt"):
        assert load(tmp_path / "a" / name).iteration == 2


def failing_save(path: Path, checkpoint: TrainState) -> None:
    raise OSError("full")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    config = changed(TOY, checkpoint_every=100)
    run(config, tmp_path / "whole")
    problem = make_problem(config)
    collect = problem.collect

    def interrupted(theta: Params, iteration: int) -> Any:
        if iteration == 1:
            signal.raise_signal(number)
        return collect(theta, iteration)

    problem.collect = interrupted  # pyright: ignore[reportAttributeAccessIssue]
    before, console = signal.getsignal(number), Console(file=io.StringIO())
    with pytest.raises(StoppedError, match=f"stopped by {number.name} after 2 iterations") as stopped:
        train_as(config, problem, tmp_path / "a", console)
    assert stopped.value.exit_status == 128 + number
    assert signal.getsignal(number) is before
    assert load(tmp_path / "a" / "checkpoint.pt").iteration == 2
    run(config, tmp_path / "a", resume=True)
    assert (tmp_path / "a" / "checkpoint.pt").read_bytes() == (tmp_path / "whole" / "checkpoint.pt").read_bytes()
    assert timeless(tmp_path / "a") == timeless(tmp_path / "whole")


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    problem = make_problem(TOY)

    def impatient(theta: Params, iteration: int) -> Any:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # launchers send it twice
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    problem.collect = impatient  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(KeyboardInterrupt):
        train_as(TOY, problem, tmp_path / "a")
    assert load(tmp_path / "a" / "checkpoint.pt").iteration == 0


def test_what_is_not_finite_never_moves_theta_and_in_the_end_stops_the_run(tmp_path: Path) -> None:
    config = changed(TOY, iterations=9, max_nonfinite=3)
    problem = make_problem(config)
    collect = problem.collect

    def poisoned(theta: Params, iteration: int) -> Any:
        objective, metrics = collect(theta, iteration)
        if iteration in (1, 3, 4, 5, 6):
            query = objective.query._replace(advantages=objective.query.advantages * math.nan)
            objective = MetaObjective(
                theta, objective.learner, objective.functions, objective.support, query, num_tasks=config.tasks
            )
        return objective, metrics

    problem.collect = poisoned  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        ValueError, match="after iteration 5: the last 3 outer steps were refused, for the gradient and"
    ):
        train_as(config, problem, tmp_path / "a")
    rows = read_metrics(tmp_path / "a" / "metrics.csv")
    assert [row["outer/nonfinite"] for row in rows] == [0, 1, 0, 1, 1, 1]
    assert [row.get("outer/nonfinite_loss", 0.0) for row in rows] == [0, 1, 0, 1, 1, 1]
    last, previous = (load(tmp_path / "a" / name) for name in ("checkpoint.pt", "checkpoint.previous.pt"))
    assert (last.iteration, previous.iteration) == (6, 5)
    assert torch.equal(ravel(last.theta), ravel(previous.theta))
    assert torch.isfinite(ravel(last.theta)).all()


def test_one_process_writes_to_a_run(tmp_path: Path) -> None:
    problem = make_problem(TOY)
    collect, second = problem.collect, []

    def intruded(theta: Params, iteration: int) -> Any:
        with pytest.raises(ValueError, match="another process is writing to"):
            run(TOY, tmp_path / "a", resume=True)
        second.append(iteration)
        return collect(theta, iteration)

    problem.collect = intruded  # pyright: ignore[reportAttributeAccessIssue]
    train_as(TOY, problem, tmp_path / "a")
    assert second == [0, 1, 2, 3]


@pytest.mark.parametrize("file", ["checkpoint.pt", "metrics.csv"])
def test_a_full_disk_stops_the_run_and_leaves_the_checkpoint_whole(
    tmp_path: Path, monkeypatch: Any, file: str, plain: Path
) -> None:
    run(changed(TOY, iterations=2), tmp_path / "a")
    before = (tmp_path / "a" / "checkpoint.pt").read_bytes()
    sync = os.fsync

    def full(handle: int) -> None:
        if file in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"cannot write .*{file} \(No space left on device\)"):
        run(TOY, tmp_path / "a", resume=True)
    monkeypatch.undo()
    assert (tmp_path / "a" / "checkpoint.pt").read_bytes() == before
    assert not list((tmp_path / "a").glob(".*.tmp"))
    run(TOY, tmp_path / "a", resume=True)
    assert (tmp_path / "a" / "checkpoint.pt").read_bytes() == (plain / "checkpoint.pt").read_bytes()
    assert timeless(tmp_path / "a") == timeless(plain)


def test_a_line_that_was_never_ended_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("iteration,outer/kl\n0,0.5\n1,0.25\n1")
    assert read_metrics(path) == [{"iteration": 0, "outer/kl": 0.5}, {"iteration": 1, "outer/kl": 0.25}]
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))  # saved by a spreadsheet
    assert len(read_metrics(path)) == 2
    for damage in ("0,zero\n", "0,1,2,3\n", ",1\n"):
        path.write_text(f"iteration,outer/kl\n{damage}")
        with pytest.raises(ValueError, match=r"metrics\.csv is damaged"):
            read_metrics(path)
    path.write_text("iteration,outer/k")
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged: its first line has no end"):
        read_metrics(path)
    path.write_text("")
    assert read_metrics(path) == []


def test_the_same_seed_is_the_same_run_and_another_is_not(tmp_path: Path) -> None:
    one, two = run(TOY, tmp_path / "a"), run(TOY, tmp_path / "b")
    assert torch.equal(ravel(one.theta), ravel(two.theta))
    assert timeless(tmp_path / "a") == timeless(tmp_path / "b")
    other = run(changed(TOY, seed=2), tmp_path / "c")
    assert not torch.equal(ravel(one.theta), ravel(other.theta))


def test_more_iterations_go_on_where_fewer_ended(tmp_path: Path) -> None:
    run(changed(TOY, iterations=2), tmp_path / "a")
    longer = run(TOY, tmp_path / "a", resume=True)
    assert torch.equal(ravel(longer.theta), ravel(run(TOY, tmp_path / "b").theta))


def test_metrics_have_their_stable_names_in_csv_and_tensorboard(tmp_path: Path) -> None:
    run(changed(TOY, evaluate_every=2), tmp_path / "a")
    rows = read_metrics(tmp_path / "a" / "metrics.csv")
    always = {
        "rollout/return_step0", "rollout/return_step1", "rollout/broken", "env_steps", "policy/std",
        "rollout/achieved_step0", "rollout/achieved_step1",
        "rollout/success_step0", "rollout/success_step1", "reward/distance_step0", "reward/distance_step1",
        "inner/update_norm", "outer/loss", "outer/improvement", "outer/kl", "outer/backtracks", "outer/accepted",
        "outer/grad_norm", "outer/nonfinite", "outer/cg_iterations",
        "time/sample", "time/adapt", "time/outer", "time/iteration", "time/processor",
        "time/env_steps_per_s",
    }  # fmt: skip
    sometimes = {"validation/return_step0", "validation/return_step1", "validation/return_step2"}
    assert set(rows[1]) == always | {"iteration"}
    assert set(rows[2]) == always | sometimes | {"iteration"}
    events = EventAccumulator(str(tmp_path / "a")).Reload()
    headlines = {f"rollout/{name}_step{k}" for k in range(2) for name in ("return", "success")}
    further = {"validation/return_step2"}  # stands with the other metrics: there may be many gradient steps
    first = {f"Learning/{name}" for name in headlines | sometimes - further}
    others = always - headlines
    assert set(events.Tags()["scalars"]) == first | others | further
    assert min(events.Tags()["scalars"]) == "Learning/rollout/return_step0"  # what TensorBoard sorts by
    assert set(rows[-1]) == sometimes | {"iteration"}  # the final parameters
    for name in always:
        logged = [(event.step, event.value) for event in events.Scalars(name if name in others else f"Learning/{name}")]
        np.testing.assert_allclose(logged, [(row["iteration"], row[name]) for row in rows[:-1]], rtol=1e-6)


def test_tensorboard_has_no_gap_and_no_duplicate_after_a_resume(tmp_path: Path) -> None:
    config = changed(TOY, checkpoint_every=2)
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
    state = run(changed(TOY, method="random"), tmp_path / "a")
    assert torch.equal(ravel(state.theta), ravel(make_problem(TOY).initial_parameters(TOY.seed)))
    assert load(tmp_path / "a" / "best.pt").best_score == -math.inf


def test_rejected_line_searches_are_counted_on_the_console(tmp_path: Path) -> None:
    problem = make_problem(TOY)
    problem.functions = problem.functions._replace(divergence=lambda old, new, batch: mean_kl(old, new, batch) + 1)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=140)
    train_as(TOY, problem, tmp_path / "a", console)
    assert "4 of 4 steps refused" in stream.getvalue()
    assert [row["outer/accepted"] for row in read_metrics(tmp_path / "a" / "metrics.csv")] == [0, 0, 0, 0]
