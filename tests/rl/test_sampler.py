import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import gaussian_mlp, generator
from gymnasium.spaces import Box, Text
from gymnasium.vector import AutoresetMode, VectorEnv
from small_environments import Levers, Target
from torch.utils._pytree import tree_leaves, tree_map

from metarl import envs
from metarl.engine.params import Params, stack
from metarl.randomness import Purpose, seed_sequence
from metarl.rl.episodes import Episodes, masked_mean
from metarl.rl.policies.categorical_mlp import CategoricalMLP
from metarl.rl.sampler import rollout, rollout_timesteps
from metarl.threads import torch_threads

KEY = (1, Purpose.TRAINING_ROLLOUTS, 3, 4)
POLICY = gaussian_mlp(2, 2, hidden_sizes=(8,))
THETA = POLICY.init(generator(0))


class Countdown(VectorEnv[Any, Any, Any]):
    """Environment with task (length,): episodes end after so many timesteps, the reward is 1 a timestep."""

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED}
    single_observation_space = Box(-1, 1, (2,), np.float64)
    single_action_space = Box(-1, 1, (2,), np.float64)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.left = np.asarray((options or {})["tasks"])[:, 0].copy()
        return np.zeros((self.num_envs, 2)), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        reward = (self.left > 0).astype(np.float64)
        self.left = np.maximum(self.left - 1, 0)
        self.torch_threads = torch.get_num_threads()
        done = self.left == 0
        return np.zeros((self.num_envs, 2)), reward, done, np.zeros_like(done), {"achieved": self.left}


def navigation(num_envs: int, horizon: int = 10) -> VectorEnv:
    return envs.TaskVectorEnv(envs.Navigation2D(), num_envs, horizon=horizon)


def test_shapes_mask_and_ends() -> None:
    lengths = np.array([[2.0], [5.0]])
    episodes = rollout(Countdown(6), POLICY, stack(THETA, 2), lengths, horizon=8, key=KEY)
    assert episodes.observations.shape == episodes.actions.shape == (2, 8, 3, 2)
    assert episodes.num_steps.tolist() == [[2, 2, 2], [5, 5, 5]]
    assert episodes.returns.tolist() == [[2, 2, 2], [5, 5, 5]]
    assert (episodes.rewards * (1 - episodes.mask)).abs().sum() == 0


@pytest.mark.parametrize("num_tasks", [1, 2])
def test_environments_may_write_into_the_actions_that_they_are_given(num_tasks: int) -> None:
    """What was sampled is what the losses see."""

    class Writing(Countdown):
        def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
            actions *= 0.0
            return super().step(actions)

    lengths = np.full((num_tasks, 1), 3.0)
    written, kept = (
        rollout(kind(4), POLICY, stack(THETA, num_tasks), lengths, horizon=3, key=KEY) for kind in (Writing, Countdown)
    )
    assert torch.equal(written.actions, kept.actions)


def test_environments_have_the_cores_to_themselves() -> None:
    env = Countdown(2)
    with torch_threads(2):
        rollout(env, POLICY, stack(THETA, 2), np.array([[1.0], [2.0]]), horizon=8, key=KEY)
        assert (env.torch_threads, torch.get_num_threads()) == (1, 2)


def test_a_row_per_environment_is_taken_as_it_is() -> None:
    rows = np.array([[1.0], [2.0], [3.0], [4.0]])
    episodes = rollout(Countdown(4), POLICY, stack(THETA, 2), rows, horizon=8, key=KEY)
    assert episodes.num_steps.tolist() == [[1, 2], [3, 4]]


def test_recorded_log_probs_are_those_of_the_policy_that_acted() -> None:
    env = navigation(6)
    tasks = env.sample_tasks(np.random.default_rng(0), 2)  # pyright: ignore[reportAttributeAccessIssue]
    other = {name: leaf + 0.1 for name, leaf in THETA.items()}
    stacked = {name: torch.stack([leaf, other[name]]) for name, leaf in THETA.items()}
    episodes = rollout(env, POLICY, stacked, tasks, horizon=10, key=KEY)
    for i, params in enumerate((THETA, other)):
        expected = POLICY.apply(params, episodes.observations[i]).log_prob(episodes.actions[i])
        torch.testing.assert_close(episodes.log_probs[i], expected, rtol=1e-5, atol=1e-5)


def test_the_unclipped_action_is_recorded_and_the_clipped_one_moves() -> None:
    env = navigation(40)
    tasks = env.sample_tasks(np.random.default_rng(0), 1)  # pyright: ignore[reportAttributeAccessIssue]
    episodes = rollout(env, POLICY, stack(THETA, 1), tasks, horizon=10, key=KEY)
    assert episodes.actions.abs().max() > 1
    moved = episodes.observations[0, 1] - episodes.observations[0, 0]
    torch.testing.assert_close(moved, 0.1 * episodes.actions[0, 0].clamp(-1, 1), rtol=1e-5, atol=1e-6)


def test_rollouts_depend_on_the_global_task_index_alone() -> None:
    """Task 1 of three is the same whether its neighbours are there or not, bitwise."""
    tasks = np.array([[0.1, 0.2], [0.3, -0.4], [-0.5, 0.5]])
    together = rollout(navigation(6), POLICY, stack(THETA, 3), tasks, horizon=10, key=KEY)
    alone = rollout(navigation(2), POLICY, stack(THETA, 1), tasks[1:2], horizon=10, key=KEY, first_task=1)
    for whole, part in zip(tree_leaves(together), tree_leaves(alone), strict=True):
        # batch size changes the last bits
        torch.testing.assert_close(part[0], whole[1], rtol=1e-5, atol=1e-6, equal_nan=True)
    again = rollout(navigation(6), POLICY, stack(THETA, 3), tasks, horizon=10, key=KEY)
    for one, two in zip(tree_leaves(together), tree_leaves(again), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)
    other = rollout(navigation(6), POLICY, stack(THETA, 3), tasks, horizon=10, key=(1, Purpose.TRAINING_ROLLOUTS, 3, 5))
    assert not torch.equal(other.actions, together.actions)


def test_uneven_sharing_is_refused() -> None:
    with pytest.raises(ValueError, match="5 environments cannot be shared evenly by 2 tasks"):
        rollout(Countdown(5), POLICY, stack(THETA, 2), np.ones((2, 1)), horizon=3, key=KEY)


def test_without_early_ends_timesteps_and_episodes_are_the_same() -> None:
    tasks = np.full((2, 1), 100.0)
    by_timesteps = rollout_timesteps(Countdown(6), POLICY, stack(THETA, 2), tasks, horizon=8, key=KEY)
    assert by_timesteps.num_steps.tolist() == [[8, 8, 8], [8, 8, 8]]


def test_the_authors_counting_drops_what_is_unfinished_and_prefers_short_episodes() -> None:
    """Environments of 2, 4 and 8 timesteps, 3 x 8 timesteps wanted: at time 8 there are 4 x 2 + 2 x 4 + 1 x 8."""
    rows = np.array([[2.0], [4.0], [8.0]])
    episodes = rollout_timesteps(Countdown(3), POLICY, stack(THETA, 1), rows, horizon=8, key=KEY)
    counted = episodes.num_steps[0][episodes.num_steps[0] > 0]
    assert sorted(counted.tolist()) == [2, 2, 2, 2, 4, 4, 8]
    assert episodes.average(episodes.returns).item() == pytest.approx(24 / 7)  # complete episodes: 14 / 3
    assert (episodes.rewards * (1 - episodes.mask)).abs().sum() == 0


class Broken(Countdown):
    """Observations and rewards are nan after the timestep in which an episode ends; environment 5's already in it."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, reward, terminated, truncated, info = super().step(actions)
        over = terminated & (reward == 0)
        observations[over | (terminated & (np.arange(self.num_envs) == 5))] = np.nan
        return observations, np.where(over, np.nan, reward), terminated, truncated, info


def test_what_an_ended_environment_shows_stays_out() -> None:
    episodes = rollout(Broken(5), POLICY, stack(THETA, 1), np.array([[3.0]]), horizon=8, key=KEY)
    assert all(torch.isfinite(leaf).all() for leaf in tree_leaves(episodes._replace(success=torch.zeros(1))))
    assert episodes.returns.tolist() == [[3] * 5]
    assert episodes.broken.sum() == 0


def test_an_end_in_a_state_that_is_not_finite_is_a_break() -> None:
    """Environments may end an episode because its state is not finite: that is no end like others."""
    episodes = rollout(Broken(6), POLICY, stack(THETA, 2), np.array([[2.0], [5.0]]), horizon=8, key=KEY)
    assert episodes.breaks["observation"].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert episodes.counted.tolist() == [[1, 1, 1], [1, 1, 0]]


class Blinking(Countdown):
    """Flags an end for one timestep only, as environments do that reset by themselves."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observations, reward, terminated, truncated, info = super().step(actions)
        return observations, np.ones_like(reward), terminated & (reward > 0), truncated, info


def test_an_episode_that_has_ended_stays_ended() -> None:
    episodes = rollout(Blinking(4), POLICY, stack(THETA, 2), np.array([[2.0], [5.0]]), horizon=8, key=KEY)
    assert episodes.num_steps.tolist() == episodes.returns.tolist() == [[2, 2], [5, 5]]


def test_environments_that_reset_by_themselves_or_whose_spaces_are_no_vectors_are_refused() -> None:
    env = Countdown(2)
    env.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    with pytest.raises(ValueError, match="resets by itself: rollouts need autoreset_mode DISABLED"):
        rollout(env, POLICY, stack(THETA, 1), np.ones((1, 1)), horizon=3, key=KEY)
    env = Countdown(2)
    env.single_observation_space = Text(5)
    with pytest.raises(ValueError, match="observations must be of a space that can be made a vector"):
        rollout(env, POLICY, stack(THETA, 1), np.ones((1, 1)), horizon=3, key=KEY)
    env = Countdown(2)
    env.single_action_space = Box(0, 1, (8, 8), np.float64)
    with pytest.raises(ValueError, match="actions must be vectors"):
        rollout(env, POLICY, stack(THETA, 1), np.ones((1, 1)), horizon=3, key=KEY)


class SeedEcho(Countdown):
    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.seeds = list(seed)
        return super().reset(seed=seed, options=options)


def test_every_environment_gets_a_seed_of_its_own_keyed_by_its_task() -> None:
    env, alone = SeedEcho(6), SeedEcho(3)
    rollout(env, POLICY, stack(THETA, 2), np.ones((2, 1)), horizon=2, key=KEY)
    rollout(alone, POLICY, stack(THETA, 1), np.ones((1, 1)), horizon=2, key=KEY, first_task=1)
    assert len(set(env.seeds)) == 6
    assert env.seeds[3:] == alone.seeds


@pytest.mark.parametrize("gather", [rollout, rollout_timesteps])
def test_a_diverged_policy_ends_its_episodes_and_its_loss_is_not_finite(gather: Callable[..., Episodes]) -> None:
    params = {name: torch.stack([leaf, leaf * np.nan]) for name, leaf in THETA.items()}
    episodes = gather(Countdown(4), POLICY, params, np.full((2, 1), 2.0), horizon=3, key=KEY)
    np.testing.assert_array_equal(episodes.breaks["action"].amax(1), [0, 1])
    np.testing.assert_array_equal(episodes.num_steps.amax(1), [2, 0])
    losses = [masked_mean(log_probs, mask) for log_probs, mask in zip(episodes.log_probs, episodes.mask, strict=True)]
    assert torch.isfinite(losses[0]) and not torch.isfinite(losses[1])
    assert torch.isfinite(episodes.observations).all()


class Huge(Countdown):
    """Environment 1 earns more than a single-precision number can be, in its second timestep."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, rewards, *ends, info = super().step(actions)
        self.steps = getattr(self, "steps", 0) + 1
        return seen, np.where((np.arange(self.num_envs) == 1) & (self.steps == 2), 1e300, rewards), *ends, info


def test_what_will_not_be_finite_counts_as_what_is_not() -> None:
    episodes = rollout(Huge(2), POLICY, stack(THETA, 1), np.array([[5.0]]), horizon=8, key=KEY)
    np.testing.assert_array_equal(episodes.breaks["reward"], [[0, 1]])
    np.testing.assert_array_equal(episodes.num_steps, [[5, 1]])


class Fragile(Countdown):
    """Environment 1 breaks down in its second timestep."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, rewards, terminated, truncated, info = super().step(actions)
        self.steps = getattr(self, "steps", 0) + 1
        diverged = np.arange(self.num_envs) == (1 if self.steps >= 2 else -1)
        rewards = np.where(diverged, np.nan, rewards)
        return seen, rewards, terminated | diverged, truncated, info | {"diverged": diverged}


class Poisoned(Countdown):
    """Environment 1 observes nan after its second timestep, 2 earns infinity in its third, 3 starts from nan."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        seen, info = super().reset(**options)
        self.steps = 0
        return np.where(np.arange(self.num_envs)[:, None] == 3, np.nan, seen), info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, rewards, terminated, truncated, info = super().step(actions)
        self.steps += 1
        index = np.arange(self.num_envs)
        seen = np.where(((index == 1) & (self.steps >= 2))[:, None], np.nan, seen)
        return seen, np.where((index == 2) & (self.steps == 3), np.inf, rewards), terminated, truncated, info


def test_what_is_not_finite_ends_its_episode_and_is_told_apart() -> None:
    episodes = rollout(Poisoned(4), POLICY, stack(THETA, 1), np.array([[5.0]]), horizon=8, key=KEY)
    np.testing.assert_array_equal(episodes.num_steps, [[5, 2, 2, 0]])
    np.testing.assert_array_equal(episodes.breaks["observation"], [[0, 1, 0, 1]])
    np.testing.assert_array_equal(episodes.breaks["reward"], [[0, 0, 1, 0]])
    np.testing.assert_array_equal(episodes.broken, [[0, 1, 1, 1]])
    assert all(torch.isfinite(field).all() for field in (episodes.observations, episodes.log_probs, episodes.rewards))


def test_a_broken_timestep_is_masked_and_its_episode_counted() -> None:
    episodes = rollout(Fragile(2), POLICY, stack(THETA, 1), np.array([[5.0]]), horizon=8, key=KEY)
    np.testing.assert_array_equal(episodes.num_steps, [[5, 1]])
    np.testing.assert_array_equal(episodes.broken, [[0, 1]])
    assert torch.isfinite(episodes.returns).all()


def noise_of(episodes: Episodes, params: Params) -> torch.Tensor:
    """The standard normal noise that actions of one task's parameters were made with, [M, T, E, A]."""
    policy = POLICY.apply(params, episodes.observations)
    return (episodes.actions - policy.mean) * (-policy.log_std).exp()


def test_the_noise_is_standard_normal_and_never_the_same_twice() -> None:
    """Not in two tasks, episodes, timesteps, inner steps or iterations."""
    episodes = {
        key: rollout(Countdown(40), POLICY, stack(THETA, 2), np.full((2, 1), 99.0), horizon=50, key=key)
        for key in ((1, Purpose.TRAINING_ROLLOUTS, i, k) for i in (3, 4) for k in (0, 1))
    }
    noise = torch.stack([noise_of(one, THETA) for one in episodes.values()])  # [4, M, T, E, A]
    assert abs(noise.mean().item()) < 0.02
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    for values in (noise.flatten(1), noise[0].flatten(1), noise[0, 0].flatten(1), noise[0, 0].movedim(1, 0).flatten(1)):
        correlation = torch.corrcoef(values) - torch.eye(len(values))
        assert correlation.abs().max() < 5 / values.shape[1] ** 0.5


def test_every_round_of_timesteps_has_noise_of_its_own() -> None:
    tasks = np.full((1, 1), 2.0)
    episodes = rollout_timesteps(Countdown(3), POLICY, stack(THETA, 1), tasks, horizon=8, key=KEY)
    noise = noise_of(episodes, THETA)[0, :2].movedim(1, 0).reshape(4, 3, -1)  # [rounds, E, 2 A]
    for one, other in itertools.combinations(noise, 2):
        assert not torch.isclose(one, other, atol=1e-4).any()


def test_environments_are_not_seeded_with_what_the_noise_is_drawn_from() -> None:
    env = SeedEcho(6)
    rollout(env, POLICY, stack(THETA, 2), np.ones((2, 1)), horizon=2, key=KEY)
    for task in range(2):
        sequence = seed_sequence(*KEY, task)
        assert not set(env.seeds) & set(sequence.generate_state(16, np.uint64).tolist())
        noise = np.random.default_rng(sequence).standard_normal(8)
        for seed in env.seeds:
            assert not np.isclose(np.random.default_rng(seed).standard_normal(8), noise).any()


class Telling(Countdown):
    """Reports terms of its reward and, in the second timestep, success of the environments with an even number."""

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, rewards, terminated, truncated, info = super().step(actions)
        self.steps = getattr(self, "steps", 0) + 1
        success = (np.arange(self.num_envs) % 2 == 0) & (self.steps == 2)
        terms = {"reward/alive": 2 * np.ones(self.num_envs), "reward/cost": -np.ones(self.num_envs)}
        return seen, rewards, terminated, truncated, info | terms | {"success": success}


@pytest.mark.parametrize("gather", [rollout, rollout_timesteps])
def test_terms_of_the_reward_and_success_reach_the_episodes(gather: Callable[..., Episodes]) -> None:
    tasks = np.array([[1.0], [3.0], [3.0], [8.0]])
    episodes = gather(Telling(4), POLICY, stack(THETA, 2), tasks, horizon=8, key=KEY)
    first = Episodes(*tree_map(lambda leaf: leaf[:, :2] if leaf.dim() == 2 else leaf[:, :, :2], episodes))
    assert first.success.tolist() == [[0, 0], [1, 0]]
    assert first.reward_terms["alive"].tolist() == [[2, 6], [6, 16]]
    assert first.reward_terms["cost"].tolist() == [[-1, -3], [-3, -8]]


def test_what_is_not_reported_is_nan() -> None:
    episodes = rollout(Countdown(2), POLICY, stack(THETA, 1), np.full((1, 1), 2.0), horizon=3, key=KEY)
    assert episodes.success.isnan().all()
    assert episodes.reward_terms == {}


def test_discrete_actions_and_observations_of_a_dict() -> None:
    """Whole numbers from the space's first one on reach the environment, and its observations the policy as vectors."""
    env = Levers(8)
    policy = CategoricalMLP(hidden_sizes=(8,)).build(env.single_observation_space, env.single_action_space)
    theta = policy.init(generator(0))
    tasks = np.array([[1.0], [3.0]])
    episodes = rollout(env, policy, stack(theta, 2), tasks, horizon=5, key=KEY)
    assert episodes.actions.shape == (2, 5, 4, 1)
    assert set(episodes.actions.unique().tolist()) == {0, 1, 2}
    torch.testing.assert_close(episodes.observations[0, 3, 0], torch.tensor([0.0, 1.0, 0.3]))
    expected = (episodes.actions[..., 0] + 1 == torch.tensor([1.0, 3.0])[:, None, None]).float() - 0.1
    torch.testing.assert_close(episodes.rewards, expected)
    log_probs = policy.apply(theta, episodes.observations).log_prob(episodes.actions)
    torch.testing.assert_close(episodes.log_probs, log_probs)


def test_what_is_cut_off_by_a_time_limit_has_ended() -> None:
    policy = gaussian_mlp(2, 1, hidden_sizes=(8,))
    params = stack(policy.init(generator(0)), 1)
    episodes = rollout(Target(2, horizon=3), policy, params, np.zeros((1, 1)), horizon=5, key=KEY)
    assert episodes.num_steps.tolist() == [[3, 3]]


class FragileLater(Countdown):
    """From the second round on, environment 2 breaks down in its second timestep."""

    rounds = 0

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        self.rounds, self.steps = self.rounds + 1, 0
        return super().reset(**options)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        *result, info = super().step(actions)
        self.steps += 1
        breaks = self.rounds > 1 and self.steps == 2
        return (*result, info | {"diverged": np.array([False, False, breaks])})


def test_what_breaks_after_the_authors_counting_has_stopped_does_not_count() -> None:
    """Environment 2 is in its first episode then, as in the test of the counting above."""
    rows = np.array([[2.0], [4.0], [8.0]])
    episodes = rollout_timesteps(FragileLater(3), POLICY, stack(THETA, 1), rows, horizon=8, key=KEY)
    assert sorted(episodes.num_steps[episodes.num_steps > 0].tolist()) == [2, 2, 2, 2, 4, 4, 8]
    assert episodes.broken.sum() == 0
