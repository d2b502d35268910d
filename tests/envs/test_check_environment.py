"""The contract of environments: what is refused and what is said, of single, vector and registered ones."""

import random
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from examples.pendulum import GravityPendulum
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import NormalizeObservation, NormalizeReward, TimeLimit, TransformReward, vector
from scripts import TOY, refused, run
from small_environments import Target

import metarl
from metarl.envs import ENVIRONMENTS, LoopVectorEnv
from metarl.rl.bounds import remarks_on_bounds
from metarl.rl.contract import require_task_taken


class Drawn(GravityPendulum):
    """Its tasks are a function of what a test says."""

    def __init__(self, rows: Any) -> None:
        super().__init__()
        self.rows = rows

    def sample_tasks(self, rng: np.random.Generator, n: int) -> Any:
        return self.rows(rng, n)


class Clipping(Target):
    """Keeps actions within their bounds."""

    def paid(self, actions: Any) -> Any:
        return super().paid(np.clip(actions, -1, 1))


def test_a_good_environment_has_nothing_to_be_said_of_it() -> None:
    assert metarl.check_environment(GravityPendulum()) == []
    assert metarl.check_environment(LoopVectorEnv(GravityPendulum, 2)) == []
    assert metarl.check_environment(gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=2)) == []
    assert metarl.check_environment("examples.pendulum:GravityPendulum-v0", 100) == []
    assert metarl.check_environment("metarl/Navigation2D-v0") == []
    with pytest.raises(ValueError, match=r"must be a gymnasium.Env, a VectorEnv or an id; got 3"):
        metarl.check_environment(cast(Any, 3))


def test_what_is_no_environment() -> None:
    maker: Any = GravityPendulum
    right = r"env must be a gymnasium\.Env, a VectorEnv or an id; got "
    with pytest.raises(ValueError, match=rf"^{right}<class .*: make one, and check that$"):
        metarl.check_environment(maker)
    with pytest.raises(ValueError, match=rf"^{right}None$"):
        metarl.check_environment(None)  # pyright: ignore[reportArgumentType]
    part: Any = ENVIRONMENTS.find("GravityPendulum-v0")()
    assert metarl.check_environment(part, 150) == metarl.check_environment(part.build(1, horizon=150).one(), 150)


def test_a_horizon_shorter_than_the_own_limit_is_said(tmp_path: Path) -> None:
    words = "cut at the horizon of 6 timesteps, before the environment's own limit of 100: --horizon 100 plays whole"
    (remark,) = metarl.check_environment("examples.pendulum:GravityPendulum-v0", 6)
    assert words in remark
    assert words in metarl.check_environment(gymnasium.make("GravityPendulum-v0"), 6)[0]
    environment = ("--environment", "examples.pendulum:GravityPendulum-v0")
    result = run("train", "custom", *environment, *TOY, "--iterations", "1", "--run-dir", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert f"note: episodes are {words}" in result.stderr


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda rng, n: np.random.uniform(5, 15, (n, 1)), r"it draws from NumPy's global generator .*: draw from rng"),
        (
            lambda rng, n: [[random.uniform(5, 15)] for _ in range(n)],
            r"it draws from Python's global generator \(random\)",
        ),
        (lambda rng, n: np.random.default_rng().uniform(5, 15, (n, 1)), "it draws from a generator of its own"),
        (lambda rng, n: rng.uniform(5, 15, (n + 1, 1)), r"asked for 2 it drew \(3, 1\)"),
        (lambda rng, n: np.full((n, 1), np.inf), r"tasks must be finite numbers; it drew \[inf\]"),
    ],
)
def test_tasks_that_are_drawn_wrongly(rows: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metarl.check_environment(Drawn(rows))


def test_balanced_tasks_are_right_and_tasks_that_never_differ_are_named() -> None:
    def balanced(rng: np.random.Generator, n: int) -> Any:
        return 5.0 + 10 * (np.arange(n)[:, None] + rng.uniform(size=(n, 1))) / n

    assert metarl.check_environment(Drawn(balanced)) == []
    (remark,) = metarl.check_environment(Drawn(lambda rng, n: np.full((n, 1), 9.0)))
    assert "the first 16 tasks that it draws are all the same, [9.]" in remark


def test_tasks_that_are_the_same_for_every_generator_are_named() -> None:
    """Those that are held out were those of training."""

    def own(rng: np.random.Generator, n: int) -> Any:
        return np.random.default_rng(0).uniform(5, 15, (n, 1))

    (remark,) = metarl.check_environment(Drawn(own))
    assert "sample_tasks draws the same tasks from every generator" in remark


@pytest.mark.parametrize("wrapper", [NormalizeObservation, NormalizeReward])
def test_running_statistics_are_refused(wrapper: Any) -> None:
    wrapped = TimeLimit(wrapper(TransformReward(GravityPendulum(), lambda reward: float(reward) / 2)), 9)
    with pytest.raises(ValueError, match=f"{wrapper.__name__} keeps running statistics.*--normalization running"):
        metarl.check_environment(wrapped)


class Mean(gymnasium.ObservationWrapper):
    """Running statistics of somebody's own."""

    def __init__(self) -> None:
        super().__init__(GravityPendulum())
        self.total, self.count = np.zeros(3), 0

    def observation(self, observation: Any) -> Any:
        self.total, self.count = self.total + observation, self.count + 1
        return (observation - self.total / self.count).astype(np.float32)


class Noisy(GravityPendulum):
    """Noise from a generator that no seed reaches."""

    def step(self, u: Any) -> Any:
        seen, reward, *rest = super().step(u)
        return seen, reward + np.random.normal(), *rest


class Restless(GravityPendulum):
    def __init__(self) -> None:
        super().__init__()
        self.own = np.random.default_rng()

    def step(self, u: Any) -> Any:
        seen, reward, *rest = super().step(u)
        return seen, reward + self.own.normal(), *rest


class Deaf(GravityPendulum):
    """Never reads its task."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed)


class Elsewhere(GravityPendulum):
    def step(self, u: Any) -> Any:
        *rest, _ = super().step(u)
        return *rest, {"is_success": True}


def test_state_that_is_kept_and_generators_of_their_own_are_told_apart() -> None:
    with pytest.raises(ValueError, match="keeps state from one episode to the next, such as running statistics"):
        metarl.check_environment(LoopVectorEnv(Mean, 2))
    (remark,) = metarl.check_environment(LoopVectorEnv(Noisy, 2))
    assert "it draws from NumPy's global generator (np.random), which no seed of a run reaches" in remark
    (remark,) = metarl.check_environment(LoopVectorEnv(Restless, 2))
    assert "equal seeds, tasks and actions give other episodes" in remark


def test_tasks_without_effect_and_names_that_are_not_read_are_said() -> None:
    (remark,) = metarl.check_environment(Deaf())
    assert 'show and pay the same in 100 timesteps of random actions: is options["task"] read at reset?' in remark
    (remark,) = metarl.check_environment(Elsewhere())
    assert remark == "its info has 'is_success', which is not read: say 'success'"


def test_environments_that_share_their_task_are_refused() -> None:
    """All play the task of the last one; it was said that tasks have no effect."""

    class Shared(GravityPendulum):
        own = np.zeros(1)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            Shared.own = (options or {})["task"]
            return super().reset(seed=seed)

        def step(self, u: Any) -> Any:
            self.g = float(Shared.own[0])
            return super().step(u)

    with pytest.raises(ValueError, match=r"environment 0 plays the task of environment 1\..* must share nothing"):
        metarl.check_environment(LoopVectorEnv(Shared, 2))


class Forgetful(Target):
    """Says nothing of its tasks, and does not read them."""

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        result = super().reset(seed=seed, options={"tasks": np.zeros((self.num_envs, 1))})
        self.given = vars(self).pop("tasks")
        return result

    def paid(self, actions: Any) -> Any:
        return -(actions[:, 0] ** 2), np.zeros(self.num_envs, np.bool_), {}


class Stubborn(Target):
    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=seed, options={"tasks": np.full((self.num_envs, 1), 0.3)})


def test_vector_environments_that_drop_tasks_are_refused() -> None:
    assert metarl.check_environment(Clipping(2)) == []
    for env in (Forgetful(2), Stubborn(2)):
        with pytest.raises(ValueError, match="drops tasks"):
            metarl.check_environment(env)
    require_task_taken(Target(2), [0.5])
    with pytest.raises(ValueError, match=r"drops tasks: .*attribute `tasks`.*LoopVectorEnv"):
        require_task_taken(Forgetful(2), [0.5])


def test_wrappers_of_vector_environments_are_seen_through() -> None:
    wrapped = vector.RecordEpisodeStatistics(vector.ClipReward(Clipping(2), -1.0, 1.0))
    assert metarl.check_environment(wrapped) == []
    require_task_taken(wrapped, [0.5])
    with pytest.raises(ValueError, match="keeps state from one episode to the next"):
        metarl.check_environment(vector.NormalizeReward(Target(2)))
    with pytest.raises(ValueError, match="drops tasks"):
        metarl.check_environment(vector.ClipReward(Forgetful(2), -1.0, 1.0))


def gymnasiums(autoreset: AutoresetMode = AutoresetMode.DISABLED) -> VectorEnv:
    return SyncVectorEnv([lambda: cast(Any, GravityPendulum())] * 2, autoreset_mode=autoreset)


def test_actions_outside_their_bounds_are_told_of() -> None:
    """They reached the environment as they were, where `agent.act` clips them."""

    class Strict(Target):
        def paid(self, actions: Any) -> Any:
            assert (abs(actions) <= 1).all()
            return super().paid(actions)

    class Chance(Clipping):
        def paid(self, actions: Any) -> Any:
            rewards, ended, info = super().paid(actions)
            return rewards + chance.normal(size=self.num_envs), ended, info

    class Whole(Clipping):
        single_action_space = Box(0, 255, (1,), np.uint8)

        def paid(self, actions: Any) -> Any:
            return super().paid(np.clip(actions, 0, 255) / 255)

    chance = np.random.default_rng()
    assert remarks_on_bounds(Chance(2)) == []
    assert remarks_on_bounds(Whole(2)) == []
    assert metarl.check_environment(Clipping(2)) == []
    (told,) = metarl.check_environment(Target(2))
    assert told.startswith(
        "actions outside Box[1] in [-1, 1], which are sampled now and then, have effects of their own"
    )
    (told,) = metarl.check_environment(Strict(2))
    assert told == "actions outside Box[1] in [-1, 1] end in AssertionError: clip them to these bounds in step"


def test_gymnasiums_own_vector_environments_are_refused_with_what_to_take_instead() -> None:
    with pytest.raises(ValueError, match=r"needs a method sample_tasks.*LoopVectorEnv\(make_env, num_envs\) makes one"):
        metarl.check_environment(gymnasiums())
    with pytest.raises(ValueError, match=r"drops tasks: .*LoopVectorEnv"):
        require_task_taken(gymnasiums(), [8.0])
    with pytest.raises(ValueError, match=r"resets by itself: .*AutoresetMode.DISABLED"):
        require_task_taken(gymnasiums(AutoresetMode.NEXT_STEP), [8.0])


gymnasium.register("Stateful-v0", entry_point=f"{__name__}:Mean", max_episode_steps=5)


def test_training_checks_before_it_starts(tmp_path: Path) -> None:
    result = run("train", "custom", "--environment", "Stateful-v0", *TOY, "--run-dir", tmp_path / "run")
    refused(result, "keeps state from one episode to the next")
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
