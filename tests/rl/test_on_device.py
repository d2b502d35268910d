"""Rollouts in environments whose states are tensors, on the CPU and on torch's device "meta".

Tensors of the device "meta" have no values: whatever looks at a value, copies to the host or mixes devices raises. So
what runs on them does nothing that would wait for a GPU.
"""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from conftest import gaussian_mlp, generator
from gymnasium.vector import VectorEnv, VectorWrapper
from small_environments import Levers, Target
from torch.utils._pytree import tree_leaves, tree_map

from metarl import problems
from metarl.engine.curvature import CURVATURES
from metarl.engine.gradients import gradients_of
from metarl.engine.objective import MetaObjective
from metarl.engine.params import ravel, stack
from metarl.envs import Navigation2D, TaskFamily, make_family
from metarl.experiments.benchmarks.changed_presets import configured
from metarl.randomness import Purpose
from metarl.rl.contract import check_vector
from metarl.rl.sampler import rollout, rollout_timesteps

KEY = (1, Purpose.TRAINING_ROLLOUTS, 3, 4)
POLICY = gaussian_mlp(2, 2, hidden_sizes=(8,))
THETA = POLICY.init(generator(0)) | {"log_std": torch.full((2,), -3.0)}  # steps of millimetres
POINTS = ("metarl/Navigation2D-v0", "metarl/HalfCircle-v0", "metarl/SparseCorner-v0")


def near_ends(family: TaskFamily, count: int) -> np.ndarray:
    """Tasks of which some end early where episodes can end."""
    tasks = family.tasks.sample(np.random.default_rng(0), count)
    return tasks * 0.05 if "Navigation" in type(family).__name__ else tasks


@pytest.mark.parametrize("gather", [rollout, rollout_timesteps])
@pytest.mark.parametrize("environment_id", POINTS)
def test_episodes_of_tensors_are_those_of_arrays(environment_id: str, gather: Any) -> None:
    family = make_family(environment_id)
    tasks = near_ends(family, 3)
    arrays, tensors = (
        gather(made.build(12, horizon=30), POLICY, stack(THETA, 3), tasks, horizon=30, key=KEY)
        for made in (family, family.placed("cpu"))
    )
    tree_map(lambda ours, theirs: torch.testing.assert_close(ours, theirs, equal_nan=True), tensors, arrays)
    assert (arrays.num_steps < 30).any() == ("Navigation" in environment_id)


class Mixed(VectorWrapper[Any, Any, Any]):
    """Environments on a device that return some of their results on the host, and in other types."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, rewards, terminated, truncated, info = self.env.step(actions)
        info = info | {"achieved": info["achieved"].numpy(), "diverged": info["diverged"].double()}
        return seen, rewards.numpy(), terminated.tolist(), truncated, info


def test_results_on_the_host_are_moved_to_the_device() -> None:
    family = make_family("metarl/Navigation2D-v0")
    arrays, mixed = (
        rollout(env, POLICY, stack(THETA, 3), near_ends(family, 3), horizon=30, key=KEY)
        for env in (family.build(12, horizon=30), Mixed(family.placed("cpu").build(12, horizon=30)))
    )
    tree_map(lambda ours, theirs: torch.testing.assert_close(ours, theirs, equal_nan=True), mixed, arrays)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"baseline": "time_mean", "rule": "meta-sgd", "inner_loss": "dice"},
        {"baseline": "zero", "rule": "anil", "outer_loss": "e_maml"},
        {"normalization": "running", "rule": "cavia", "inner_steps": 2},
        {"method": "oracle"},
    ],
    ids=["defaults", "meta-sgd", "anil", "cavia", "oracle"],
)
def test_nothing_of_adaptation_and_curvature_mixes_devices(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the rollouts to the gradients and products that the outer step asks for."""
    monkeypatch.setattr(problems, "require_device", lambda device: None)
    sizes = {"tasks": 4, "episodes": 3, "horizon": 6, "hidden_sizes": (8,), "device": "meta"}
    problem = configured("navigation", sizes | changes).problem
    learner, theta = problem.learner, problem.initial_parameters(0)
    tasks = np.zeros((12 if "method" in changes else 4, 2))
    fast = learner.start_each(theta, 4)
    batches = []
    for step in range(problem.inner_steps + 1):
        adapted = learner.merge_each(fast, theta)
        episodes = rollout(problem._env, problem.policy, adapted, tasks, horizon=6, key=KEY)
        batches.append(problem._process(episodes, inner=step < problem.inner_steps))
        fast = learner.step_each(fast, theta, batches[-1], step=step) if step < problem.inner_steps else fast
    objective = MetaObjective(theta, learner, problem.functions, batches[:-1], batches[-1])
    gradients, losses, _ = gradients_of(learner, problem.functions.outer_loss)(
        theta, objective.support, objective.query
    )
    products = [objective.curvature(theta, kind, 0.5, 0.5)(ravel(theta).double()) for kind in CURVATURES]
    assert {leaf.device.type for leaf in (*gradients.values(), losses, *products)} == {"meta"}


def test_gymnasium_makes_environments_on_a_device() -> None:
    made: Any = gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=2, device="meta")
    assert made.reset(seed=0)[0].is_meta
    drawn: Any = gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=2, device="meta", render_mode="rgb_array")
    assert isinstance(drawn.reset(seed=0)[0], np.ndarray)


def test_families_that_do_not_take_tensors_stay_on_the_host() -> None:
    class Plain(Navigation2D):
        takes_tensors = False

    assert Plain().on("cuda").device is None
    assert Navigation2D().on("cuda").device == "cuda"
    assert Navigation2D().on("cpu").device is None


def test_a_device_takes_and_returns_tensors_and_freezes_what_has_ended() -> None:
    family = make_family("metarl/Navigation2D-v0").placed("cpu")
    env = family.build(3, horizon=4, task_in_observation=True)
    tasks = np.array([[0.1, 0.0], [0.3, 0.0], [-0.5, 0.5]])
    seen: Any
    seen, _ = env.reset(seed=0, options={"tasks": tasks})
    assert isinstance(seen, torch.Tensor)
    np.testing.assert_array_equal(seen.numpy()[:, 2:], tasks)
    paths, ends = [], []
    results: Any = None
    for _ in range(4):
        results = env.step(torch.tensor([[1.0, 0.0]] * 3))
        assert all(isinstance(values, torch.Tensor) for values in (*results[:4], *results[4].values()))
        paths.append(results[0][:, 0])
        ends.append((results[2].tolist(), results[3].tolist()))
    torch.testing.assert_close(torch.stack(paths)[:, 0], torch.full((4,), 0.1, dtype=torch.float64))
    assert [terminated for terminated, _ in ends] == [[True, False, False]] * 2 + [[True, True, False]] * 2
    assert [truncated for _, truncated in ends] == [[False] * 3] * 3 + [[False, False, True]]
    assert results[1].tolist()[0] == 0.0 and results[4]["reward/distance"].tolist()[:2] == [0.0, 0.0]

    seen, _ = env.reset(options={"tasks": -tasks, "reset_mask": np.array([True, False, False])})
    torch.testing.assert_close(seen[:, 0], torch.tensor([0.0, 0.3, 0.4], dtype=torch.float64))
    results = env.step(torch.tensor([[-1.0, 0.0]] * 3))
    assert results[2].tolist() == [True, True, False]
    with pytest.raises(ValueError, match=r"actions must have shape \(3, 2\); got \(2, 2\)"):
        env.step(torch.zeros(2, 2))


def test_nothing_of_a_rollout_waits_for_the_device() -> None:
    env = make_family("metarl/Navigation2D-v0").on("meta").build(6, horizon=5)
    params = {name: leaf.to("meta") for name, leaf in stack(THETA, 3).items()}
    episodes = rollout(env, POLICY, params, np.zeros((3, 2)), horizon=5, key=KEY)
    assert {leaf.device.type for leaf in tree_leaves(episodes)} == {"meta"}
    # What the test relies on.
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        bool(episodes.mask.any())
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        episodes.mask.cpu()
    with pytest.raises(RuntimeError, match="is not on the expected device"):
        _ = episodes.mask + torch.zeros_like(episodes.mask, device="cpu")


class Tensors(VectorEnv[Any, Any, Any]):
    """Show and pay the same as another environment, in tensors."""

    tensor_device = "cpu"

    def __init__(self, env: VectorEnv) -> None:
        self.env = env
        self.num_envs, self.metadata = env.num_envs, env.metadata
        self.single_observation_space, self.single_action_space = env.single_observation_space, env.single_action_space

    def reset(self, **arguments: Any) -> Any:
        return tree_map(torch.as_tensor, self.env.reset(**arguments))

    def step(self, actions: Any) -> Any:
        assert isinstance(actions, torch.Tensor)
        return tree_map(torch.as_tensor, self.env.step(actions.numpy()))


def test_broken_episodes_are_found_on_a_device_too() -> None:
    class Breaking(Target):
        def paid(self, actions: Any) -> Any:
            rewards, broken, info = super().paid(actions)
            rewards[1] = np.nan
            broken[2] = self.t == 2
            self.last[3] = np.inf
            return rewards, broken, info

    policy = gaussian_mlp(2, 1, hidden_sizes=(8,))
    params = {name: leaf.clone() for name, leaf in stack(policy.init(generator(0)), 5).items()}
    params["log_std"][4] = torch.nan
    tasks = np.zeros((5, 1))
    ours, theirs = (
        rollout(env, policy, params, tasks, horizon=5, key=KEY) for env in (Tensors(Breaking(5)), Breaking(5))
    )
    assert {name: broken.nonzero()[:, 0].tolist() for name, broken in ours.breaks.items()} == {
        "simulation": [2],
        "observation": [3],
        "reward": [1],
        "action": [4],
    }
    tree_map(lambda one, other: torch.testing.assert_close(one, other, equal_nan=True), ours, theirs)


class OneLever(Levers):
    single_observation_space = Target.single_observation_space

    def seen(self) -> Any:
        return np.ones((self.num_envs, 2))


def test_environments_of_tensors_keep_the_contract() -> None:
    env: Any = Tensors(Target(2))
    env.sample_tasks = env.env.sample_tasks
    assert check_vector(env) == []


def test_tensors_of_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match=r"is on a device: observations and actions must be vectors \(Box\); got"):
        rollout(Tensors(OneLever(2)), POLICY, stack(THETA, 2), np.ones((2, 1)), horizon=3, key=KEY)
