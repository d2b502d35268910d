"""Anybody's environment trains: a family in one file, and a plain Gymnasium environment in a loop."""

from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode

from examples import line, pendulum
from metarl import envs
from metarl.envs import LoopVectorEnv

N = 3


def pendulums(n: int = N, **options: Any) -> LoopVectorEnv:
    return LoopVectorEnv(lambda: gymnasium.make("GravityPendulum-v0", **options), n)


def test_the_loop_equals_the_batch() -> None:
    """The example family, once as n single environments in a loop and once as a batch."""
    loop = LoopVectorEnv(lambda: cast(Any, envs.TaskEnv(line.Line())), N)
    batch = envs.TaskVectorEnv(line.Line(), N)
    tasks = batch.sample_tasks(np.random.default_rng(0), N)
    np.testing.assert_array_equal(loop.sample_tasks(np.random.default_rng(0), N), tasks)
    assert loop.reset(seed=1, options={"tasks": tasks})[0].shape == batch.observation_space.shape
    states = np.stack([cast(Any, env)._batch.states[0] for env in cast(Any, loop._group).envs])
    batch.reset(seed=1, options={"tasks": tasks})
    batch._states = states  # seeds reach a single environment by another way
    actions = np.random.default_rng(1).uniform(-1.5, 1.5, (60, N, 1))
    for action in actions:
        for one, other in zip(loop.step(action)[:4], batch.step(action)[:4], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert loop.step(actions[0])[3].all()


def test_what_the_task_does_and_that_it_stays() -> None:
    env = pendulums()
    env.reset(seed=0, options={"tasks": [[5.0], [10.0], [15.0]]})
    assert [cast(Any, one.unwrapped).g for one in cast(Any, env._group).envs] == [5.0, 10.0, 15.0]
    env.reset()
    np.testing.assert_array_equal(env.tasks, [[5.0], [10.0], [15.0]])
    env.reset(seed=0)
    assert not np.array_equal(env.tasks, [[5.0], [10.0], [15.0]])


def test_seeds_and_masks() -> None:
    one, two = pendulums(), pendulums()
    first, _ = one.reset(seed=[1, 2**63, 3])
    np.testing.assert_array_equal(first, two.reset(seed=[1, 2**63, 3])[0])
    before, _, _, _, _ = one.step(np.ones((N, 1)))
    mask = np.array([True, False, False])
    after, _ = one.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(after[1:], before[1:])
    assert not np.array_equal(after[0], before[0])


def test_each_environment_gets_other_seeds_in_every_episode() -> None:
    given: list[int | None] = []

    class Seeded(gymnasium.Wrapper):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            given.append(seed)
            return self.env.reset(seed=seed, options=options)

    env = LoopVectorEnv(lambda: Seeded(gymnasium.make("GravityPendulum-v0")), N)
    starts = [env.reset(seed=[10 * episode + i for i in range(N)])[0].copy() for episode in range(4)]
    assert len(set(given)) == 4 * N
    assert len(np.unique(np.concatenate(starts), axis=0)) == 4 * N
    env.reset()
    assert given[-N:] == [None] * N  # each goes on with a generator of its own
    env.reset(seed=[0, 1, 2])
    assert given[-N:] == given[:N]


def test_the_end_freezes_and_actions_are_rescaled() -> None:
    env = pendulums()
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.single_action_space == gymnasium.spaces.Box(-1, 1, (1,), np.float64)
    env.reset(seed=0)
    env.step(np.array([[0.5], [1.0], [9.0]]))
    assert [cast(Any, one.unwrapped).last_u for one in cast(Any, env._group).envs] == [
        1.0,
        2.0,
        2.0,
    ]  # the pendulum's torque is in [-2, 2] N m
    last = [env.step(np.zeros((N, 1))) for _ in range(99)][-1]
    assert last[3].all()
    again = env.step(np.full((N, 1), np.nan))
    np.testing.assert_array_equal(again[0], last[0])
    np.testing.assert_array_equal(again[1], 0)


def test_what_it_draws_and_what_it_lacks_for_that() -> None:
    env = LoopVectorEnv(lambda: cast(Any, envs.TaskEnv(line.Line(), render_mode="rgb_array")), 2)
    env.reset(seed=0)
    assert [picture.shape for picture in cast(tuple, env.render())] == [(40, 400, 3)] * 2
    assert pendulums().render() is None

    class Blind(pendulum.GravityPendulum):
        def render(self) -> None:
            raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    with pytest.raises(ValueError, match="cannot draw itself here: pygame is not installed"):
        LoopVectorEnv(lambda: Blind(render_mode="rgb_array")).render()

    class Undrawn(pendulum.GravityPendulum):
        def render(self) -> None:
            """What gymnasium.Env does where a class has no method of its own."""
            raise NotImplementedError

    with pytest.raises(ValueError, match="does not draw itself: it has no method render of its own"):
        LoopVectorEnv(lambda: Undrawn(render_mode="rgb_array")).render()


def test_actions_stay_inside_bounds_that_are_not_round() -> None:
    class Picky(pendulum.GravityPendulum):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = Box(np.float32(-0.1), np.float32(0.7), (1,))

        def step(self, u: Any) -> Any:
            assert self.action_space.contains(u)
            return super().step(u)

    env = LoopVectorEnv(Picky, 2)
    env.reset(seed=0)
    for action in (-1.0, 1.0, 0.3):
        env.step(np.full((2, 1), action))


def oracles(task_in_observation: Any) -> envs.TaskVectorEnv:
    return envs.TaskVectorEnv(line.Line(), 2, task_in_observation=task_in_observation)


def test_mistakes() -> None:
    for make in (lambda odd: LoopVectorEnv(pendulum.GravityPendulum, 2, task_in_observation=odd), oracles):
        with pytest.raises(ValueError, match="task_in_observation must be True or False; got 'no'"):
            make("no")
    with pytest.raises(ValueError, match="it has no method sample_tasks"):
        LoopVectorEnv(lambda: gymnasium.make("Pendulum-v1"))
    with pytest.raises(ValueError, match="num_envs must be at least 1; got 0"):
        pendulums(0)

    class Boundless(pendulum.GravityPendulum):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = Box(-np.inf, np.inf, (1,))

    with pytest.raises(ValueError, match=r"actions must be a bounded vector \(Box\), or discrete .*; got Box\(-inf"):
        LoopVectorEnv(Boundless)
    env = pendulums()
    with pytest.raises(ValueError, match="call reset first"):
        _ = env.tasks
    with pytest.raises(ValueError, match=r"tasks must have shape \(3, 1\), one row per environment; got \(2, 1\)"):
        env.reset(options={"tasks": [[1.0], [2.0]]})
    with pytest.raises(ValueError, match="call reset first"):
        env.step(np.zeros((N, 1)))
    with pytest.raises(ValueError, match="tasks must be finite; got"):
        env.reset(options={"tasks": [[1.0], [np.nan], [2.0]]})

    class Flat(pendulum.GravityPendulum):
        def sample_tasks(self, rng: np.random.Generator, n: int) -> Any:
            return rng.uniform(size=n)

    with pytest.raises(ValueError, match=r"asked for 2 it drew \(2,\): a task of one number is a row, too"):
        LoopVectorEnv(Flat)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="actions must be finite; environment 0"):
        env.step(np.full((N, 1), np.nan))


def test_the_examples_are_the_files_that_the_documentation_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "own-environment.md").read_text()
    for module in (line, pendulum):
        assert f"tests/examples/{Path(cast(str, module.__file__)).name}" in page
