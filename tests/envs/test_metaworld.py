"""The adapter to Meta-World against a stand-in of the same interface: tasks, splits, success, MuJoCo's wider rows."""

import json
import pickle
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from built_from_config import changed, meta_rl
from meta_world_stand_in import COMPILED, EPISODE, GOALS, OTHER, OWN, WELD, Arm, SawyerMocapBase, install
from scripts import TOY, refused, run

from metarl.envs import ENVIRONMENTS, LoopVectorEnv, check_environment
from metarl.envs.adapters import metaworld
from metarl.envs.adapters.metaworld import MetaWorld, adapt_welds
from metarl.experiments.presets.configuration import preset_config
from metarl.randomness import Purpose

ML1, ML10 = "metarl/ML1-v0", "metarl/ML10-v0"
AHEAD = np.array([1.0, 0.0, 0.0, 0.0], np.float32)


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def rows(which: int, first: int) -> np.ndarray:
    """The tasks of a class from one goal on."""
    return np.array([[which, goal] for goal in range(first, first + GOALS)], np.float64)


def drawn(env: Any, split: str, n: int = 200) -> np.ndarray:
    """The different tasks that an environment draws, in order."""
    return np.unique(env.get_wrapper_attr("sample_tasks")(np.random.default_rng(0), n, split), axis=0)


def goal_of(env: gymnasium.Env, task: Any) -> float:
    """The stand-in's goal: minus the reward of a hand that stays."""
    env.reset(options={"task": np.asarray(task, np.float64)})
    return -float(env.step(0 * AHEAD)[1])


def test_ml1_tests_other_goals_of_the_skill_that_it_trains() -> None:
    env = gymnasium.make(ML1)
    for split in ("train", "validation"):
        np.testing.assert_array_equal(drawn(env, split), rows(0, 0))
    np.testing.assert_array_equal(drawn(env, "test"), rows(0, GOALS))
    assert [goal_of(env, row) for row in rows(0, 0)] == [0, 1, 2, 3]
    assert [goal_of(env, row) for row in rows(0, GOALS)] == [10, 11, 12, 13]
    inside = env.get_wrapper_attr("in_distribution")
    assert inside(rows(0, 0)).all()
    assert not inside(rows(0, GOALS)).any()


def test_ml10_tests_other_skills() -> None:
    env = gymnasium.make(ML10)
    np.testing.assert_array_equal(drawn(env, "train"), np.concatenate([rows(0, 0), rows(1, 0)]))
    np.testing.assert_array_equal(drawn(env, "test"), rows(2, 0))
    assert env.get_wrapper_attr("benchmark").names == ("reach-v3", "push-v3", "door-v3")
    assert [goal_of(env, task) for task in ((0, 1), (1, 3), (2, 0))] == [2, 4, 50]


def test_skill_and_seed_are_options() -> None:
    push = gymnasium.make(ML1, env_name="push-v3", seed=2)
    assert goal_of(push, (0, 0)) == 200
    assert isinstance(push.get_wrapper_attr("_simulation"), Arm)
    assert push.get_wrapper_attr("_simulation").name == "push-v3"
    part: Any = ENVIRONMENTS.find(ML1)
    part = pickle.loads(pickle.dumps(part(environment_options={"env_name": "push-v3"})))
    with closing(part.build(2, horizon=3)) as env:
        assert env.reset(seed=0)[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        (ML1, {"env_name": "juggle-v3"}, "env_name of ML1 must be one of reach-v3, push-v3; got 'juggle-v3'"),
        (ML1, {"env_name": None}, "env_name of ML1 must be one of reach-v3, push-v3; got None"),
        (ML10, {"env_name": "reach-v3"}, "env_name of ML10 must be one of None; got 'reach-v3'"),
        (ML10, {"benchmark": "ML3"}, "benchmark must be ML1 or ML10; got 'ML3'"),
        (ML10, {"seed": None}, "seed must be a whole number, at least 0; got None"),
        (ML10, {"seed": -1}, "seed must be a whole number, at least 0; got -1"),
    ],
)
def test_other_options_are_refused(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gymnasium.make(name, **options)


def test_goals_are_drawn_once() -> None:
    assert metaworld.drawn("ML10", None, 0) is metaworld.drawn("ML10", None, 0)


def test_one_simulation_at_a_time_and_none_before_it_is_needed() -> None:
    env = MetaWorld("ML10")
    assert not Arm.living  # the one that the spaces were read from is closed
    MetaWorld("ML10").sample_tasks(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match="call reset first"):
        env.step(AHEAD)
    env.reset(options={"task": np.array([0.0, 1.0])})
    first = Arm.living[0]
    env.reset(options={"task": np.array([0.0, 2.0])})
    env.reset()
    assert Arm.living == [first]
    assert first.goal == 3.0
    env.reset(options={"task": np.array([2.0, 0.0])})
    assert [arm.name for arm in Arm.living] == ["door-v3"]
    env.close()
    env.close()
    assert not Arm.living
    assert env.reset(seed=0)[0].shape == (3,)


@pytest.mark.parametrize("task", [(0, 8), (3, 0), (-1, 0), (0.5, 0), (np.nan, 0), (1,)])
def test_other_rows_are_no_tasks(task: tuple[float, ...]) -> None:
    env = MetaWorld("ML10")
    with pytest.raises(ValueError, match=r"a task is \(class, goal\), .* 4 of reach-v3, 4 of push-v3, 4 of door-v3"):
        env.reset(options={"task": np.array(task)})


def test_success_and_the_end_of_an_episode() -> None:
    env = gymnasium.make(ML1)
    env.reset(options={"task": np.array([0.0, 2.0])})
    results = [env.step(AHEAD) for _ in range(EPISODE)]
    assert [result[4]["success"] for result in results[:3]] == [False, True, False]
    assert isinstance(results[0][1], float)
    assert [result[3] for result in results] == [False] * (EPISODE - 1) + [True]
    assert "obj_to_target" in results[0][4]


def test_pictures_are_asked_for_when_the_simulation_is_made_and_are_not_upside_down() -> None:
    env = gymnasium.make(ML1, render_mode="rgb_array")
    env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), [[[9, 10, 11], [6, 7, 8]], [[3, 4, 5], [0, 1, 2]]])
    assert (Arm.living[0].render_mode, Arm.living[0].camera_name) == ("rgb_array", "corner")
    blind = MetaWorld("ML10")
    blind.reset(seed=0)
    assert blind.render() is None


def test_the_contract_is_kept_and_horizons_are_compared_with_meta_worlds_own() -> None:
    assert check_environment(LoopVectorEnv(lambda: gymnasium.make(ML1), 2)) == []
    part: Any = ENVIRONMENTS.find(ML1)()
    assert part.remarks(EPISODE) == []
    assert "limit of 500" in part.remarks(100)[0]


def test_a_run_draws_from_the_splits_and_scores_success(tmp_path: Path) -> None:
    problem = meta_rl(changed(preset_config("ml1-reach"), horizon=3))
    for purpose, split in ((Purpose.TRAINING_TASKS, rows(0, 0)), (Purpose.EVALUATION_TASKS, rows(0, GOALS))):
        np.testing.assert_array_equal(np.unique(problem.sample_tasks(1, purpose, 0, count=50), axis=0), split)
    done = run("train", "ml1-reach", *TOY, "--validation-tasks", "2", "--run-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert run("evaluate", tmp_path).returncode == 0
    steps = json.loads((tmp_path / "evaluation.json").read_text())["steps"]
    assert all(0 <= step["success"]["mean"] <= 1 for step in steps)
    assert "rollout/success_step1" in (tmp_path / "metrics.csv").read_text().splitlines()[0]


def test_meta_world_is_imported_when_it_is_asked_for_and_missed_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "metaworld", None)
    assert gymnasium.spec(ML1).max_episode_steps == EPISODE
    command = "pip install 'metarl[mujoco,render]' && pip install --no-deps metaworld==3.1.1"
    missed = f"environments of Meta-World need metaworld, which is not installed: {command}"
    refused(run("train", "ml1-reach", *TOY, "--run-dir", tmp_path / "run"), missed)
    assert not list(tmp_path.iterdir())


def test_welds_keep_the_twelfth_number_of_their_rows() -> None:
    env = MetaWorld("ML1", "reach-v3")
    env.reset(seed=0)
    model = Arm.living[0].model
    np.testing.assert_array_equal(model.eq_data, [COMPILED, [*OWN, COMPILED[-1]]])
    assert model.eq_type.tolist() == [OTHER, WELD]


def test_where_rows_have_eleven_numbers_nothing_is_adapted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    own = SawyerMocapBase.reset_mocap_welds

    def noting(env: Any) -> None:
        seen.append(env)
        own(env)

    base = SimpleNamespace(reset_mocap_welds=noting)
    adapt_welds(base)
    adapted = base.reset_mocap_welds
    adapt_welds(base)
    assert base.reset_mocap_welds is adapted
    monkeypatch.setattr(SawyerMocapBase, "width", 11)
    env = SawyerMocapBase()
    adapted(env)
    assert seen == [env]
    np.testing.assert_array_equal(env.model.eq_data, [COMPILED[:11], OWN])
