"""The example in one file takes the engine's outer step, and learns."""

import dataclasses
from typing import NamedTuple

import maml_trpo
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from maml_trpo import Batch, Params, Settings
from torch import Tensor
from torch.func import grad_and_value, vmap

from metarl.engine.maml import Learner
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import ravel
from metarl.engine.rules.sgd import SGD
from metarl.engine.solvers import conjugate_gradient
from metarl.rl.advantages import discounted_sums, generalized_advantages, normalize
from metarl.rl.baselines.linear_features import LinearFeatures
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import likelihood_ratio, mean_kl, policy_gradient
from metarl.rl.policies.gaussian_mlp import GaussianMLP

SMALL = Settings(tasks=3, episodes=4, horizon=30, inner_step_size=0.1, cg_iterations=10)


class OuterStep(NamedTuple):
    """What is compared: of the example, and of the engine."""

    loss: float
    gradient: Tensor
    direction: Tensor
    kl: float
    theta: Params


def of_the_example(theta: Params, batches: list[Batch], settings: Settings) -> OuterStep:
    alpha = settings.inner_step_size
    old = vmap(maml_trpo.adapted_policy, (None, 0, None))(theta, batches, alpha)
    gradient, (loss, _) = grad_and_value(maml_trpo.meta_objective, has_aux=True)(theta, batches, alpha, old)
    gradient = maml_trpo.flatten(gradient)
    product = maml_trpo.kl_hessian(theta, batches, alpha, old)
    direction, _ = maml_trpo.conjugate_gradient(product, gradient, settings.cg_iterations)
    moved, kl = maml_trpo.trpo_step(theta, batches, settings)
    return OuterStep(loss.item(), gradient, direction, kl, moved)


def of_the_engine(theta: Params, batches: list[Batch], settings: Settings) -> OuterStep:
    """The same from metarl: its policy, losses, objective and TRPO, with everything averaged."""
    policy = GaussianMLP().build(Box(-1, 1, (2,)), Box(-1, 1, (2,)))
    *support, query = (PolicyBatch(*batch, rewards=batch.mask) for batch in batches)
    learner = Learner(
        SGD().build([settings.inner_step_size]),
        lambda params, batch: policy_gradient(policy.apply(params, batch.observations), batch),
        lambda params, batch: policy.apply(params, batch.observations),
    )
    functions = TaskFunctions(lambda task: likelihood_ratio(task.outputs, task.query), mean_kl)
    objective = MetaObjective(theta, learner, functions, support, query, num_tasks=settings.tasks)
    loss, gradient = objective.loss_and_gradient(theta)
    curvature = objective.curvature(theta, "gauss_newton")
    direction = conjugate_gradient(curvature, ravel(gradient), iterations=settings.cg_iterations, damping=1e-5).x
    part = TRPO(
        max_kl=settings.max_kl, cg_iterations=settings.cg_iterations, curvature_fraction=1.0, curvature_tasks=1.0
    )
    outer = part.build()
    moved, _, info = outer.step(theta, outer.init(theta), objective)
    return OuterStep(loss, ravel(gradient), direction, info["kl"], moved)


def advantages_of_metarl(observations: Tensor, rewards: Tensor, mask: Tensor, settings: Settings) -> Tensor:
    discount, gae_lambda = settings.discount, settings.gae_lambda
    values = LinearFeatures().build()(observations, discounted_sums(rewards, discount), mask)
    return normalize(generalized_advantages(rewards, values, discount=discount, gae_lambda=gae_lambda), mask)


def rollouts(settings: Settings) -> tuple[Params, list[Batch]]:
    """A theta in float64, away from the kinks of zero biases, and rollouts that end after different times."""
    generator = torch.Generator().manual_seed(0)
    theta = {name: leaf.double() for name, leaf in maml_trpo.initial_parameters(2, 2, generator).items()}
    for leaf in theta.values():
        leaf += 0.01 * torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
    # steps of a few centimetres, and goals as near: some episodes arrive
    theta["log_std"] -= 1.0
    env = maml_trpo.make_env(settings, settings.tasks, seed=0)
    tasks = 0.03 * env.sample_tasks(np.random.default_rng(0), settings.tasks)
    alphas = [settings.inner_step_size] * settings.inner_steps
    batches, _ = maml_trpo.roll_out_and_adapt(env, theta, tasks, alphas, settings, generator)
    return theta, batches


@pytest.mark.parametrize("inner_steps", [1, 2])
def test_its_outer_step_is_the_engines(inner_steps: int) -> None:
    settings = dataclasses.replace(SMALL, inner_steps=inner_steps)
    theta, batches = rollouts(settings)
    lengths = batches[-1].mask.sum(1)
    assert lengths.min() < lengths.max() == settings.horizon
    own, engines = of_the_example(theta, batches, settings), of_the_engine(theta, batches, settings)
    assert own.loss == pytest.approx(engines.loss, rel=0, abs=1e-12)
    torch.testing.assert_close(own.gradient, engines.gradient, rtol=1e-9, atol=1e-11)
    # conjugate gradient amplifies the last bits
    torch.testing.assert_close(own.direction, engines.direction, rtol=0, atol=1e-8 * engines.direction.norm().item())
    assert 0 < own.kl <= settings.max_kl
    assert own.kl == pytest.approx(engines.kl, rel=1e-6)
    assert own.theta.keys() == engines.theta.keys()
    torch.testing.assert_close(own.theta, engines.theta, rtol=0, atol=1e-8)


def test_its_advantages_are_metarls() -> None:
    generator = torch.Generator().manual_seed(1)
    observations = 6 * torch.randn(3, 20, 5, 4, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, 21, (3, 1, 5), generator=generator)
    mask = (torch.arange(20)[:, None] < lengths).double()
    rewards = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64) * mask
    settings = Settings(gae_lambda=0.9)
    own = [
        maml_trpo.normalized_advantages(*of_task, settings) for of_task in zip(observations, rewards, mask, strict=True)
    ]
    expected = advantages_of_metarl(observations, rewards, mask, settings)
    torch.testing.assert_close(torch.stack(own), expected, rtol=1e-8, atol=1e-9)


def test_what_a_rollout_records() -> None:
    """Log-probabilities of the policy that acted, nothing after the end, and the returns of the environment."""
    theta, (support, query) = rollouts(SMALL)
    assert support.observations.shape == (3, 30, 4, 2)
    expected = maml_trpo.policy(theta, support.observations).log_prob(support.actions)
    torch.testing.assert_close(support.log_probs, expected)
    assert (query.mask.diff(dim=1) <= 0).all()
    assert (query.advantages[query.mask == 0] == 0).all()
    torch.testing.assert_close((query.advantages * query.mask).sum((1, 2)), torch.zeros(3).double())
    moved = support.observations + 0.1 * support.actions.clamp(-1, 1)
    running = support.mask[:, 1:, :, None]
    torch.testing.assert_close(support.observations[:, 1:] * running, moved[:, :-1] * running)


def test_it_learns_navigation_and_says_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(iterations=5, tasks=10, episodes=10, horizon=40, evaluation_tasks=20)
    before = maml_trpo.evaluate(
        maml_trpo.initial_parameters(2, 2, torch.Generator().manual_seed(settings.seed)), settings
    )
    after = maml_trpo.evaluate(maml_trpo.train(settings), settings)
    assert len(after) == 4
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("iteration")] == [
        f"iteration {i}" for i in range(5)
    ]
    assert after[1] > before[1] + 5


def test_a_seed_is_a_run_and_a_robot_runs_too() -> None:
    settings = Settings(
        environment="metarl/HalfCheetahDir-v0", options=(), iterations=1, tasks=2, episodes=2, horizon=10, inner_steps=2
    )
    one, again, other = (maml_trpo.train(s) for s in (settings, settings, dataclasses.replace(settings, seed=2)))
    torch.testing.assert_close(one, again, rtol=0, atol=0)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_every_setting_is_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["maml_trpo.py"])
    assert maml_trpo.parse() == Settings()
    flags = "--environment E --options a=b c=d --seed 3 --iterations 4 --tasks 5 --episodes 6 --horizon 7"
    more = "--inner-steps 8 --inner-step-size 0.9 --discount 0.1 --gae-lambda 0.2 --max-kl 0.3"
    monkeypatch.setattr(
        "sys.argv", ["maml_trpo.py", *flags.split(), *more.split(), "--cg-iterations", "11", "--evaluation-tasks", "12"]
    )
    assert maml_trpo.parse() == Settings("E", ["a=b", "c=d"], 3, 4, 5, 6, 7, 8, 0.9, 0.1, 0.2, 0.3, 11, 12)
