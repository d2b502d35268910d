import functools
from typing import Any, cast

import pytest
import torch
from conftest import gaussian_mlp, generator, policy_data, sgd
from small_environments import Target
from torch import Tensor

from metarl.engine.curvature import CURVATURES
from metarl.engine.outer.adam import Adam
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params
from metarl.rl.baselines.zero import Zero
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import policy_gradient
from metarl.rl.normalizers import NORMALIZATIONS, Normalizer
from metarl.rl.normalizers.running import ITERATIONS, LEAST_STD, MEAN, STD, Running
from metarl.rl.problem import MetaRL, RolloutSettings

POLICY = gaussian_mlp(2, 2, hidden_sizes=(8,))


def alone(total: Tensor) -> Tensor:
    return total


def observed(batch: PolicyBatch) -> Tensor:
    """The observations of valid timesteps, [n, O]."""
    return batch.observations[batch.mask > 0]


def started(normalizer: Normalizer) -> Params:
    return normalizer.wrap(POLICY, 2).init(generator(0))


def test_before_the_first_iteration_observations_are_seen_as_they_are() -> None:
    normalizer, observations = Running().build(), torch.randn(5, 2, generator=generator(1))
    theta = started(normalizer)
    assert set(theta) - set(POLICY.init(generator(0))) == {MEAN, STD, ITERATIONS}
    expected = POLICY.apply(theta, observations)
    assert torch.equal(normalizer.wrap(POLICY, 2).apply(theta, observations).mean, expected.mean)


def test_statistics_are_those_of_the_valid_timesteps_of_all_batches() -> None:
    normalizer, batches = Running().build(), [policy_data(seed) for seed in (0, 1)]
    soiled = [b._replace(observations=torch.where(b.mask[..., None] > 0, b.observations, 99.0)) for b in batches]
    theta = normalizer.refresh(started(normalizer), soiled, alone)
    values = torch.cat([observed(batch) for batch in batches])
    torch.testing.assert_close(theta[MEAN].double(), values.mean(0), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(theta[STD].double(), values.std(0, unbiased=False), rtol=1e-6, atol=1e-7)
    assert theta[MEAN].dtype == torch.float32
    observations = torch.randn(5, 2, generator=generator(1))
    scaled = (observations - theta[MEAN]) / theta[STD]
    torch.testing.assert_close(
        normalizer.wrap(POLICY, 2).apply(theta, observations).mean, POLICY.apply(theta, scaled).mean
    )


@pytest.mark.parametrize("memory", [1, 2, 100])
def test_iterations_weigh_the_same_until_there_are_memory_of_them(memory: int) -> None:
    normalizer = Running(memory=memory).build()
    theta, means, squares = started(normalizer), torch.zeros(2).double(), torch.zeros(2).double()
    for n, seed in enumerate(range(4), start=1):
        batch = policy_data(seed)
        theta = normalizer.refresh(theta, [batch], alone)
        weight = 1 / min(n, memory)
        means = (1 - weight) * means + weight * observed(batch).mean(0)
        squares = (1 - weight) * squares + weight * (observed(batch) ** 2).mean(0)
    torch.testing.assert_close(theta[MEAN].double(), means, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(theta[STD].double(), (squares - means**2).sqrt(), rtol=1e-5, atol=1e-6)


def test_ranks_see_the_statistics_of_all_tasks() -> None:
    normalizer, batch = Running().build(), policy_data(0)
    halves = [PolicyBatch(*(field[part] for field in batch)) for part in (slice(0, 1), slice(1, None))]
    whole = normalizer.refresh(started(normalizer), [batch], alone)
    sent: list[Tensor] = []

    def remember(total: Tensor) -> Tensor:
        sent.append(total)
        return total

    for half in halves:
        normalizer.refresh(started(normalizer), [half], remember)
    ranked = normalizer.refresh(started(normalizer), [halves[0]], lambda total: sent[0] + sent[1])
    for name in (MEAN, STD):
        torch.testing.assert_close(ranked[name], whole[name])


def test_observations_far_off_are_clipped_and_constant_ones_are_not_blown_up() -> None:
    batch = policy_data(0)
    constant = batch._replace(observations=torch.full_like(batch.observations, 3.0))
    for clip in (10.0, 2.0):
        normalizer = Running(observation_clip=clip).build()
        theta = normalizer.refresh(started(normalizer), [constant], alone)
        torch.testing.assert_close(theta[STD], torch.full((2,), LEAST_STD))
        seen = normalizer.wrap(POLICY, 2).apply(theta, torch.tensor([[3.0, 1e6]])).mean
        torch.testing.assert_close(seen, POLICY.apply(theta, torch.tensor([[0.0, clip]])).mean)


def test_an_iteration_in_which_everything_broke_changes_nothing() -> None:
    normalizer, batch = Running().build(), policy_data(0)
    theta = started(normalizer)
    nothing = batch._replace(mask=torch.zeros_like(batch.mask))
    after = normalizer.refresh(theta, [nothing], alone)
    assert all(torch.equal(leaf, after[name]) for name, leaf in theta.items())


def problem(normalizer: Normalizer) -> MetaRL:
    policy = gaussian_mlp(2, 1, hidden_sizes=(8,), activation="tanh", initial_std=0.2)
    return MetaRL(
        functools.partial(Target, horizon=6),
        normalizer.wrap(policy, 2),
        sgd(0.1),
        inner_steps=1,
        inner_loss=policy_gradient,
        baseline=Zero().build(),
        settings=RolloutSettings(
            tasks=3,
            episodes=4,
            horizon=6,
            discount=0.9,
            gae_lambda=1.0,
            evaluation_episodes=2,
            evaluation_counting="episodes",
        ),
        seed=1,
        normalizer=normalizer,
    )


@pytest.mark.parametrize(
    "outer",
    [Adam(), *(TRPO(curvature=cast(Any, kind), curvature_fraction=1.0, curvature_tasks=1.0) for kind in CURVATURES)],
    ids=["adam", *CURVATURES],
)
def test_neither_inner_nor_outer_steps_move_the_statistics(outer: Adam | TRPO) -> None:
    """And what an iteration samples and what it differentiates is the same policy: the surrogate is 0 at theta."""
    normalizer = Running().build()
    maml = problem(normalizer)
    theta = maml.initial_parameters(0)
    theta = maml.refresh(theta, maml.collect(theta, 0)[0])
    objective, _ = maml.collect(theta, 1)
    assert abs(objective.loss_and_divergence(theta)[0]) < 1e-5
    optimiser = outer.build()
    moved, _, _ = optimiser.step(theta, optimiser.init(theta), objective)
    assert not torch.equal(moved["head.weight"], theta["head.weight"])
    assert all(torch.equal(moved[name], theta[name]) for name in (MEAN, STD, ITERATIONS))
    after = maml.refresh(moved, objective)
    assert after[ITERATIONS] == 2
    values = torch.cat([observed(batch) for batch in (*objective.support, objective.query)]).double()
    expected = (theta[MEAN].double() + values.mean(0)) / 2
    torch.testing.assert_close(after[MEAN].double(), expected, rtol=1e-6, atol=1e-7)


def test_without_normalisation_policy_and_parameters_stay_as_they_are() -> None:
    normalizer = NORMALIZATIONS.find("none")().build()
    assert normalizer.wrap(POLICY, 2) is POLICY
    theta = POLICY.init(generator(0))
    assert normalizer.refresh(theta, [policy_data(0)], alone) is theta


@pytest.mark.parametrize(
    ("options", "name"), [({"observation_clip": 0.0}, "observation_clip"), ({"memory": 0}, "memory")]
)
def test_impossible_normalisations_are_refused(options: dict, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        Running(**options)
