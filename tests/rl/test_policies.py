import math
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import double, gaussian_mlp, generator
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from nets import Net
from torch import Tensor, nn
from torch.func import vmap

from metarl.engine.model import Model
from metarl.engine.params import Params, stack
from metarl.parts import options
from metarl.rl.conformance import check_policy
from metarl.rl.distributions import DiagonalGaussian
from metarl.rl.policies import POLICIES
from metarl.rl.policies.categorical_mlp import CategoricalMLP
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.policies.own_module import ModulePolicy, adopted, policy_of
from metarl.rl.policies.policy import Policy, default_policy


def test_initialisation_is_the_papers() -> None:
    params = gaussian_mlp(20, 6).init(generator(0))
    assert [tuple(leaf.shape) for leaf in params.values()] == [
        (100, 20), (100,), (100, 100), (100,), (6, 100), (6,), (6,),
    ]  # fmt: skip
    assert all((leaf == 0).all() for name, leaf in params.items() if name.endswith("bias"))
    assert torch.equal(params["log_std"], torch.zeros(6))
    bound = math.sqrt(6 / (20 + 100))
    assert 0.95 * bound < params["body.0.weight"].abs().max() <= bound
    assert params["body.0.weight"].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_min_std_is_a_floor() -> None:
    policy = gaussian_mlp(2, 2, min_std=0.1)
    params = policy.init(generator(0)) | {"log_std": torch.tensor([-50.0, 0.0])}
    torch.testing.assert_close(policy.apply(params, torch.zeros(3, 2)).log_std.exp(), torch.tensor([[0.1, 1.0]] * 3))


def test_stacked_parameters_equal_a_loop() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,))
    each = [double(policy.init(generator(seed))) for seed in range(4)]
    stacked = {name: torch.stack([params[name] for params in each]) for name in each[0]}
    observations = torch.randn(4, 7, 2, generator=generator(9), dtype=torch.float64)
    together = vmap(policy.apply)(stacked, observations)
    for i, params in enumerate(each):
        torch.testing.assert_close(together.mean[i], policy.apply(params, observations[i]).mean, rtol=1e-12, atol=1e-14)
    same = vmap(policy.apply)(stack(each[0], 4), observations)
    torch.testing.assert_close(same.mean[2], policy.apply(each[0], observations[2]).mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_std": 0.0}, "initial_std must be a positive number; got 0.0"),
        ({"initial_std": 1e-7}, "min_std <= initial_std; got min_std 1e-06, initial_std 1e-07"),
        ({"activation": "gelu"}, "activation must be 'relu' or 'tanh'; got 'gelu'"),
        ({"hidden_sizes": (8, 0)}, "hidden_sizes must be a list of values that are each at least 1"),
    ],
)
def test_impossible_policies_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gaussian_mlp(2, 2, **options)


BOX = Box(-1, 1, (3,))
SPACES = {"gaussian_mlp": BOX, "categorical_mlp": MultiDiscrete([2, 4])}


@pytest.mark.parametrize("name", POLICIES.names)
def test_registered_policies_keep_the_contract(name: str) -> None:
    check_policy(POLICIES.find(name)(), Box(-1, 1, (5,)), SPACES[name])


@pytest.mark.parametrize("space", [BOX, Discrete(3), Discrete(4, start=2), MultiDiscrete([2, 4]), MultiBinary(3)])
@pytest.mark.parametrize("observed", [Box(-1, 1, (5,)), Dict({"image": Box(0, 1, (2, 2, 1)), "side": Discrete(3)})])
def test_ones_own_network_keeps_the_contract_in_every_space(space: Space, observed: Space) -> None:
    check_policy(policy_of(Net)(), observed, space)
    check_policy(POLICIES.find(default_policy(space))(), observed, space)


def test_the_default_policy_follows_the_action_space() -> None:
    assert default_policy(BOX) == "gaussian_mlp"
    assert {default_policy(space) for space in (Discrete(2), MultiBinary(2), MultiDiscrete([2]))} == {"categorical_mlp"}
    with pytest.raises(ValueError, match="actions must be vectors"):
        default_policy(Box(-1, 1, (2, 2)))


def test_a_policy_that_does_not_fit_the_action_space_names_the_one_that_does() -> None:
    with pytest.raises(
        ValueError,
        match=r"policy GaussianMLP chooses actions of a Box; this environment's are Discrete\(2\): choose policy "
        "categorical_mlp",
    ):
        GaussianMLP().build(BOX, Discrete(2))
    with pytest.raises(ValueError, match=r"policy CategoricalMLP chooses actions of a Discrete or .* gaussian_mlp"):
        CategoricalMLP().build(BOX, BOX)


@pytest.mark.parametrize(
    ("option", "value"),
    [("hidden_sizes", (7,)), ("activation", "tanh"), ("initial_std", 0.3), ("min_std", 0.9), ("head_scale", 0.5)],
)
def test_every_option_of_the_gaussian_has_an_effect(option: str, value: Any) -> None:
    plain, other = (part.build(BOX, BOX) for part in (GaussianMLP(), GaussianMLP(**{option: value})))
    observations = torch.randn(6, 3, generator=generator(1))
    outputs = []
    for policy in (plain, other):
        params = policy.init(generator(0))
        moved = {name: leaf - 0.5 if name == "log_std" else leaf for name, leaf in params.items()}
        outputs.append(policy.apply(moved, observations))
    assert not all(torch.equal(one, two) for one, two in zip(*outputs, strict=True))


@pytest.mark.parametrize(("option", "value"), [("hidden_sizes", (7,)), ("activation", "tanh"), ("head_scale", 0.5)])
def test_every_option_of_the_categorical_has_an_effect(option: str, value: Any) -> None:
    observations = torch.randn(6, 3, generator=generator(1))
    plain, other = (part.build(BOX, Discrete(3)) for part in (CategoricalMLP(), CategoricalMLP(**{option: value})))
    logits = [policy.apply(policy.init(generator(0)), observations).logits for policy in (plain, other)]
    assert not torch.equal(*logits)


def test_the_head_scale_multiplies_the_initial_means_and_nothing_else() -> None:
    plain, scaled = (GaussianMLP(head_scale=scale).build(BOX, BOX) for scale in (1.0, 0.01))
    theta, small = (policy.init(generator(0)) for policy in (plain, scaled))
    assert all(torch.equal(theta[name], small[name]) for name in theta if name != "head.weight")
    observations = torch.randn(6, 3, generator=generator(1))
    torch.testing.assert_close(scaled.apply(small, observations).mean, 0.01 * plain.apply(theta, observations).mean)


def test_a_class_of_a_network_is_found_as_a_policy_with_its_options() -> None:
    part = POLICIES.find(f"{Path(__file__).with_name('nets.py')}:Net")
    assert [option.name for option in options(part)] == ["initial_std", "min_std", "width"]
    policy = part(width=5, initial_std=0.5)  # pyright: ignore[reportCallIssue]  # of a class made from the network's
    theta = policy.build(BOX, BOX).init(generator(0))
    assert theta["layers.0.weight"].shape == (5, 3)
    torch.testing.assert_close(theta["log_std"].exp(), torch.full((3,), 0.5))


def test_networks_alone_are_adopted() -> None:
    assert issubclass(adopted(Net) or Policy, ModulePolicy)
    assert [adopted(thing) for thing in (GaussianMLP, policy_of, 1)] == [None] * 3


def test_networks_are_initialised_by_the_key_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = policy_of(Net)().build(BOX, BOX)
    first, again, other = (model.init(generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(leaf, again[name]) for name, leaf in first.items())
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


class Centred(nn.Module):
    """Outputs that depend on the other observations of a batch: one policy acts, and another one learns."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs - inputs.mean(0, keepdim=True))


class Spread(nn.Module):
    """A network with a parameter that the policy adds, too."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)
        self.log_std = nn.Parameter(torch.full((outputs,), -1.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer(inputs)


@pytest.mark.parametrize(
    ("network", "words"),
    [(Centred, "must not depend on the others beside it"), (Spread, "a Gaussian policy has a parameter 'log_std'")],
)
def test_networks_that_are_no_policies(network: type[nn.Module], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        policy_of(network)().build(Box(-1, 1, (2,)), Box(-1, 1, (2,))).init(torch.Generator())


class Logarithmic(nn.Module):
    """Takes batches alone, and makes nan of the numbers that the checks of a module draw."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layer((inputs[:, :] - 2).log())


def test_a_network_need_take_neither_single_observations_nor_all_numbers() -> None:
    policy = policy_of(Logarithmic)().build(Box(-1, 1, (2,)), Box(-1, 1, (2,)))
    assert policy.apply(policy.init(generator(0)), torch.full((3, 2), 4.0)).mean.isfinite().all()


def test_std_options_of_discrete_actions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"initial_std means nothing for discrete actions; got 0.5 for Discrete\(2\)"):
        policy_of(Net)(initial_std=0.5).build(BOX, Discrete(2))


class Dependent(Policy):
    """Breaks the contract: an observation's outputs depend on its neighbours."""

    action_spaces = (Box,)

    def build(self, observation_space: Space, action_space: Space) -> Model:
        model = GaussianMLP().build(observation_space, action_space)

        def apply(params: Params, observations: Tensor) -> DiagonalGaussian:
            return model.apply(params, observations - observations.mean(0))

        return model._replace(apply=apply)


class Unkeyed(Policy):
    """Breaks the contract: the initial parameters are always the same."""

    action_spaces = (Box,)

    def build(self, observation_space: Space, action_space: Space) -> Model:
        model = GaussianMLP().build(observation_space, action_space)
        return model._replace(init=lambda _: model.init(generator(0)))


class Deaf(Policy):
    """Breaks the contract: nothing of the outputs depends on the parameters' gradient."""

    action_spaces = (Box,)

    def build(self, observation_space: Space, action_space: Space) -> Model:
        model = GaussianMLP().build(observation_space, action_space)

        def apply(params: Params, observations: Tensor) -> DiagonalGaussian:
            return DiagonalGaussian(*(field.detach() for field in model.apply(params, observations)))

        return Model(model.init, apply)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Dependent(), "must not depend on the others beside it"),
        (Unkeyed(), "other generators must give other initial parameters"),
        (Deaf(), "a gradient step must make an action of positive advantage more probable"),
    ],
)
def test_a_policy_that_breaks_the_contract_is_told_which_rule(policy: Policy, message: str) -> None:
    with pytest.raises(ValueError, match=f"this policy breaks a rule: .*{message}"):
        check_policy(policy, BOX, BOX)
