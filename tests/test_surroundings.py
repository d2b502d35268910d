"""A program around metarl may have set anything for the whole of torch: the numbers are the same."""

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sgd
from scripts import ROOT

import metarl
from metarl.engine.conformance import check_rule
from metarl.engine.outer.adam import Adam
from metarl.engine.outer.trpo import TRPO
from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.envs import Navigation2D, TaskVectorEnv
from metarl.rl.baselines.zero import Zero
from metarl.rl.conformance import check_policy
from metarl.rl.inner_losses.log_prob import LogProb
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.problem import MetaRL, RolloutSettings
from metarl.supervised.conformance import check_dataset
from metarl.supervised.datasets.sinusoid import Sinusoid
from metarl.supervised.tasks import Examples
from metarl.surroundings import usual_torch

PAPER = ROOT / "experiments" / "results" / "navigation-paper" / "maml-seed1"
SETTINGS = RolloutSettings(
    tasks=2, episodes=3, horizon=5, discount=0.99, gae_lambda=1.0, evaluation_episodes=3, evaluation_counting="episodes"
)
SURROUNDINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16),
    # The one device, beside the CPU's, that every machine has; it holds no numbers.
    "default_device": functools.partial(torch.device, "meta"),
}


def walk(kind: type[TaskVectorEnv] = TaskVectorEnv) -> MetaRL:
    family = Navigation2D()
    policy = GaussianMLP(hidden_sizes=(4,)).build(*family.spaces())
    parts: dict[str, Any] = {"inner_loss": LogProb().build(), "baseline": Zero().build(), "settings": SETTINGS}
    return MetaRL(lambda n: kind(family, n), policy, sgd(0.1), inner_steps=1, seed=1, **parts)


def trained(run_dir: Path, outer: Any = None, start: Params | None = None) -> Params:
    built = (outer or TRPO()).build()
    state = metarl.train(walk(), built, run_dir=run_dir, iterations=1, seed=1, sinks=[], initial_parameters=start)
    return state.theta


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_a_training_and_its_evaluation(tmp_path: Path, surrounding: str) -> None:
    """Without gradients they were refused with a word about the inner loss; under autocast they were others."""
    expected = trained(tmp_path / "plain")
    scores = metarl.evaluate(walk(), expected, rule=sgd(0.1), tasks=2).scores["average_return"]
    with SURROUNDINGS[surrounding]():
        theta = trained(tmp_path / "inside")
        seen = metarl.evaluate(walk(), theta, rule=sgd(0.1), tasks=2).scores["average_return"]
        adam = trained(tmp_path / "adam", Adam())
    assert all(torch.equal(theta[name], leaf) for name, leaf in expected.items())
    assert not torch.equal(adam["head.weight"], walk().initial_parameters(1)["head.weight"])
    np.testing.assert_array_equal(seen, scores)


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_an_agent(tmp_path: Path, surrounding: str) -> None:
    plain = metarl.load_agent(PAPER)
    env = plain.make_vec(2)
    adapted = plain.adapt(env, [0.4, -0.3])
    with SURROUNDINGS[surrounding]():
        agent = metarl.load_agent(PAPER)
        inside = agent.adapt(env, [0.4, -0.3])
        acted = inside.act([0.1, 0.2])
    assert inside.returns == adapted.returns
    np.testing.assert_array_equal(acted, adapted.act([0.1, 0.2]))
    assert agent.adapt(env, [0.4, -0.3]).returns == adapted.returns


def test_parameters_that_were_made_in_inference_mode(tmp_path: Path) -> None:
    theta = trained(tmp_path / "plain")
    with torch.inference_mode():
        inferred = {name: leaf.clone() for name, leaf in theta.items()}
    assert inferred["head.weight"].is_inference()
    scores = [metarl.evaluate(walk(), given, rule=sgd(0.1), tasks=2).scores for given in (theta, inferred)]
    np.testing.assert_array_equal(scores[0]["average_return"], scores[1]["average_return"])
    on = [trained(tmp_path / name, Adam(), given) for name, given in (("one", theta), ("other", inferred))]
    assert torch.equal(on[0]["head.weight"], on[1]["head.weight"])
    assert not torch.equal(on[1]["head.weight"], theta["head.weight"])


def test_checks_of_parts_without_gradients() -> None:
    with torch.inference_mode():
        check_rule(SGD())
        check_policy(GaussianMLP(hidden_sizes=(4,)), *Navigation2D().spaces())


@pytest.mark.parametrize("surrounding", SURROUNDINGS)
def test_the_check_of_a_dataset(surrounding: str) -> None:
    """Examples that torch computes were of another dtype or device, or could not be computed."""
    made = Sinusoid().build()

    def with_slopes(*arguments: Any) -> Any:
        """The inputs, once through a product of matrices, and the slopes of their squares."""
        given = [part.inputs.clone().requires_grad_() for part in made.distribution.examples(*arguments)]
        slopes = [torch.autograd.grad((x @ torch.eye(1)).square().sum(), x)[0] for x in given]
        return tuple(Examples((x @ torch.eye(1)).detach(), y) for x, y in zip(given, slopes, strict=True))

    changed = made._replace(distribution=made.distribution._replace(examples=with_slopes))
    dataset = type("Slopes", (), {"build": lambda self: changed})()
    with SURROUNDINGS[surrounding]():
        assert check_dataset(dataset) is changed


def test_what_was_set_is_set_again() -> None:
    with torch.no_grad(), torch.autocast("cpu"), torch.device("meta"):
        with usual_torch():
            assert torch.is_grad_enabled()
            assert not torch.is_autocast_enabled("cpu")
            assert torch.zeros(1).device.type == "cpu"
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.zeros(1).device.type == "meta"


def test_an_environment_may_switch_gradients_off(tmp_path: Path) -> None:
    """For the whole process, as programs that only use a model do; the inner loss was blamed for it."""

    class Frozen(TaskVectorEnv):
        def __init__(self, family: Any, n: int) -> None:
            super().__init__(family, n)
            torch.set_grad_enabled(False)

        def sample_tasks(self, rng: Any, n: int, split: Any = "train") -> Any:
            torch.set_grad_enabled(False)
            return super().sample_tasks(rng, n, split)

    plain = trained(tmp_path / "plain")
    problem = walk(Frozen)
    state = metarl.train(problem, TRPO().build(), run_dir=tmp_path / "run", iterations=1, seed=1, sinks=[])
    assert torch.is_grad_enabled()
    assert all(torch.equal(state.theta[name], leaf) for name, leaf in plain.items())


def test_agents_can_be_compared_and_counted() -> None:
    """Comparing an agent with its copy raised an error about the truth value of tensors; a set of agents another."""
    agent = metarl.load_agent(PAPER)
    twin = copy.deepcopy(agent)
    assert agent != twin
    assert len({agent, twin, agent}) == 2
