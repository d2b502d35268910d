"""What must hold of every registered environment; a new family is covered by being registered."""

import copy
import pickle
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from metarl import envs
from metarl.envs import ENVIRONMENTS, check_family, make_family

N, STEPS = 5, 12
FAMILIES = sorted(name for name in ENVIRONMENTS.names if name.startswith("metarl/"))


@pytest.fixture(params=FAMILIES)
def environment_id(request: pytest.FixtureRequest) -> str:
    return request.param


def batched(environment_id: str, n: int = N, **options: Any) -> envs.TaskVectorEnv:
    return cast(envs.TaskVectorEnv, gymnasium.make_vec(environment_id, num_envs=n, **options))


def single(environment_id: str, **options: Any) -> envs.TaskEnv:
    return cast(envs.TaskEnv, gymnasium.make(environment_id, **options).unwrapped)


def tasks_of(environment_id: str, n: int = N) -> np.ndarray:
    return batched(environment_id, 1).sample_tasks(np.random.default_rng(0), n)


def actions_of(env: envs.TaskVectorEnv, steps: int = STEPS) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1.5, 1.5, (steps, *(env.action_space.shape or ())))


def test_it_keeps_the_contract(environment_id: str) -> None:
    check_family(make_family(environment_id))
    if issubclass(ENVIRONMENTS.find(environment_id), envs.Locomotion):
        check_family(make_family(environment_id, dynamics="paper"))
        check_family(make_family(environment_id, observation="compact", threads=3))


def test_gymnasium_checks_it(environment_id: str) -> None:
    check_env(gymnasium.make(environment_id, render_mode="rgb_array").unwrapped, skip_render_check=True)


def test_both_entry_points_and_modes(environment_id: str) -> None:
    env = batched(environment_id)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.single_action_space == gymnasium.spaces.Box(-1, 1, env.single_action_space.shape, np.float64)
    assert env.observation_space.shape == (N, *cast(tuple, env.single_observation_space.shape))
    observations, _ = env.reset(seed=1)
    assert observations in env.observation_space


def test_task_survives_reset_pickle_and_deepcopy(environment_id: str) -> None:
    tasks = tasks_of(environment_id)
    env = batched(environment_id)
    env.reset(seed=1, options={"tasks": tasks})
    env.step(actions_of(env)[0])
    others = pickle.loads(pickle.dumps(env)), copy.deepcopy(env)
    expected = env.step(actions_of(env)[1])[0]
    for other in others:
        np.testing.assert_array_equal(other.tasks, tasks)
        np.testing.assert_array_equal(other.step(actions_of(env)[1])[0], expected)
    env.reset()
    np.testing.assert_array_equal(env.tasks, tasks)
    env.reset(seed=1)
    assert not np.array_equal(env.tasks, tasks)
    one = single(environment_id)
    one.reset(seed=0, options={"task": tasks[0]})
    one.reset()
    np.testing.assert_array_equal(one.task, tasks[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).task, tasks[0])


def test_reset_mask_resets_those_alone(environment_id: str) -> None:
    """Also with tasks and seeds for everybody: the others' episodes, tasks and generators go on as they were."""
    mask = np.array([True, False, True, False, False])
    env, fresh, tasks = batched(environment_id, horizon=3), batched(environment_id), tasks_of(environment_id)
    env.reset(seed=1)
    before = [env.step(action)[0] for action in actions_of(env)[:3]][-1]
    old_tasks = env.tasks
    after, _ = env.reset(seed=50, options={"reset_mask": mask, "tasks": tasks})
    expected, _ = fresh.reset(seed=50, options={"tasks": tasks})
    np.testing.assert_array_equal(after[~mask], before[~mask])
    np.testing.assert_array_equal(after[mask], expected[mask])
    np.testing.assert_array_equal(env.tasks, np.where(mask[:, None], tasks, old_tasks))
    _, rewards, terminated, truncated, _ = env.step(np.zeros(env.action_space.shape or ()))
    np.testing.assert_array_equal((terminated | truncated), ~mask)
    assert (rewards[~mask] == 0).all()


def test_a_mask_that_selects_nothing_changes_nothing(environment_id: str) -> None:
    env = batched(environment_id)
    before, _ = env.reset(seed=1)
    after, _ = env.reset(options={"reset_mask": np.zeros(N, bool)})
    np.testing.assert_array_equal(after, before)


def test_seeds_of_none_keep_task_and_generator(environment_id: str) -> None:
    env = batched(environment_id)
    env.reset(seed=1)
    before = env.tasks
    env.reset(seed=[None, 7, None, None, 3])
    expected = before.copy()
    for i, seed in ((1, 7), (4, 3)):
        expected[i] = env.sample_tasks(np.random.default_rng(seed), 1)[0]
    np.testing.assert_array_equal(env.tasks, expected)
    env.reset(seed=np.int64(1))  # pyright: ignore[reportArgumentType]  # what rng.integers returns
    np.testing.assert_array_equal(env.tasks, before)


def test_a_refused_reset_changes_nothing(environment_id: str) -> None:
    env, tasks = batched(environment_id), tasks_of(environment_id)
    env.reset(seed=1)
    before, states = env.tasks, env.states
    with pytest.raises(ValueError, match="reset_mask must be 5 booleans"):
        env.reset(seed=9, options={"tasks": tasks, "reset_mask": np.ones(3, bool)})
    np.testing.assert_array_equal(env.tasks, before)
    np.testing.assert_array_equal(env.states, states)


@pytest.mark.render
def test_rendering(environment_id: str) -> None:
    env = gymnasium.make(environment_id, render_mode="rgb_array").unwrapped
    env.reset(seed=0)
    before = cast(np.ndarray, env.render())
    for _ in range(5):
        env.step(np.ones(env.action_space.shape or ()))
    after = cast(np.ndarray, env.render())
    assert before.dtype == np.uint8
    assert before.shape == after.shape
    assert before.shape[2] == 3
    assert (before != after).any()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda env: env.step(np.full((N, *env.single_action_space.shape), np.nan)),
            "actions must be finite; environment 0",
        ),
        (lambda env: env.step(np.zeros((N, 99))), r"actions must have shape \(5, \d+\); got \(5, 99\)"),
        (lambda env: env.reset(options={"tasks": np.zeros((N, 99))}), r"tasks must have shape .* got \(5, 99\)"),
        (lambda env: env.reset(options={"tasks": np.full((N, len(env.task_names)), np.inf)}), r"a task \(.*\) must be"),
        (lambda env: env.reset(options={"tasks": np.full((N, len(env.task_names)), np.nan)}), r"a task \(.*\) must be"),
        (lambda env: env.reset(options={"goal": 1}), "unknown reset option 'goal': choose tasks or reset_mask"),
        (lambda env: env.reset(options={"reset_mask": np.ones(3, bool)}), "reset_mask must be 5 booleans"),
        (lambda env: env.reset(seed=[1, 2]), "need one seed for each of 5 environments; got 2"),
    ],
)
def test_mistakes_are_named(environment_id: str, break_it: Any, message: str) -> None:
    env = batched(environment_id)
    env.reset(seed=1)
    with pytest.raises(ValueError, match=message):
        break_it(env)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "horizon must be at least 1; got 0"),
        ({"gravity": 2}, "has no option 'gravity': it has"),
        ({"num_envs": 0}, "num_envs must be at least 1; got 0"),
    ],
)
def test_impossible_options_are_refused(environment_id: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gymnasium.make_vec(environment_id, **options)


def test_before_the_first_reset_there_is_no_episode(environment_id: str) -> None:
    with pytest.raises(ValueError, match="call reset first"):
        batched(environment_id).step(np.zeros((N, 1)))
    with pytest.raises(ValueError, match="first reset must start every environment"):
        batched(environment_id).reset(options={"reset_mask": np.zeros(N, bool)})


def test_unknown_ids_render_modes_and_single_options_are_refused(environment_id: str) -> None:
    with pytest.raises(ValueError, match="unknown environment 'metarl/Chess-v0': choose one of"):
        make_family("metarl/Chess-v0")
    with pytest.raises(ValueError, match="AntGoal-v1': here is metarl/AntGoal-v2, which is not the same"):
        make_family("metarl/AntGoal-v1")
    with pytest.raises(ValueError, match="unknown render_mode 'human'"):
        envs.TaskEnv(make_family(environment_id), render_mode="human")
    with pytest.raises(ValueError, match="unknown reset option 'tasks': choose task"):
        envs.TaskEnv(make_family(environment_id)).reset(options={"tasks": 1})


def test_what_is_given_in_place_of_a_family() -> None:
    gymnasium.register("Plain-v0", entry_point="examples.pendulum:GravityPendulum")
    with pytest.raises(ValueError, match=r"Plain-v0 is no family of tasks: gymnasium\.make makes such an environment"):
        make_family("Plain-v0")
    made: dict[str, Any] = {"id": "metarl/Navigation2D-v0", "num_envs": 2}
    with pytest.raises(ValueError, match="autoreset_mode must be one of NextStep, SameStep, Disabled; got 'foo'"):
        gymnasium.make_vec(**made, autoreset_mode="foo")
    with pytest.raises(ValueError, match="device 'tpu' is not available here: Expected one of cpu, cuda"):
        gymnasium.make_vec(**made, device="tpu")
    process: Any = envs.Navigation2D
    right = r"process must be of the class TaskProcess; .*: make one, Navigation2D\(\)"
    for make in (lambda: envs.TaskVectorEnv(process, 2), lambda: envs.TaskEnv(process)):
        with pytest.raises(ValueError, match=right):
            make()
    wrong: Any
    for wrong in ("Plain-v0", None, make_family("metarl/Navigation2D-v0")):
        with pytest.raises(ValueError, match="make_env must be a function; got "):
            envs.LoopVectorEnv(wrong, 2)


@pytest.mark.render
def test_gymnasium_checks_its_rendering(environment_id: str) -> None:
    check_env(gymnasium.make(environment_id, render_mode="rgb_array").unwrapped)


@pytest.mark.render
def test_vector_environments_draw_each_of_theirs(environment_id: str) -> None:
    env, tasks = batched(environment_id, 2, render_mode="rgb_array"), tasks_of(environment_id, 2)
    env.reset(seed=0, options={"tasks": tasks})
    env.step(np.ones(env.action_space.shape or ()))
    pictures = cast(tuple[np.ndarray, ...], env.render())
    one = single(environment_id, render_mode="rgb_array")
    one.reset(seed=1, options={"task": tasks[1]})
    one.step(np.ones(one.action_space.shape or ()))
    np.testing.assert_array_equal(pictures[1], cast(np.ndarray, one.render()))
    assert batched(environment_id, 2).render() is None
