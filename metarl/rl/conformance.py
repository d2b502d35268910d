"""Public check of policies, for those who write one: `check_policy`."""

from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box
from torch import Tensor
from torch.func import vmap
from torch.utils._pytree import tree_leaves, tree_map

from metarl.arguments import require_parts
from metarl.engine.maml import Learner
from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.rl.episodes import PolicyBatch
from metarl.rl.losses import policy_gradient
from metarl.rl.policies.policy import Policy
from metarl.rl.spaces import action_size, environment_actions, observation_size
from metarl.surroundings import usual_torch

TASKS = 2  # M, the number of parameters that are stacked
BATCH = 7  # observations under each of them
# Tolerances between one row and many, whose sums are made in another order.
RELATIVE = 1e-4
ABSOLUTE = 1e-5


@usual_torch()
def check_policy(policy: Policy, observation_space: Space, action_space: Space) -> None:
    """Check that a policy keeps the contract of `Policy.build` on the spaces of an environment.

    Raises:
        ValueError: the policy breaks a rule; the message says which. An error inside the policy is passed on as it is.
    """
    require_parts(policy=policy)
    model = policy.build(observation_space, action_space)
    generator = torch.Generator().manual_seed(0)
    size = observation_size(observation_space)
    observations = torch.randn(TASKS, BATCH, size, generator=generator)
    noise = torch.randn(TASKS, BATCH, action_size(action_space), generator=generator)
    each = _initial(model)
    _check_outputs(model, each, observations)
    _check_distribution(model.apply(each[0], observations[0]), noise[0], action_space)
    _check_adaptation(model, each[0], observations[0], noise[0])


def _initial(model: Model) -> list[Params]:
    """Fresh parameters of several seeds, [M] of them, checked."""
    each = [model.init(torch.Generator().manual_seed(seed)) for seed in range(TASKS)]
    again = model.init(torch.Generator().manual_seed(0))
    _require(_same(each[0], again), "equal generators must give equal initial parameters: draw from the one given")
    _require(not _same(each[0], each[1]), "other generators must give other initial parameters")
    _require(all(torch.isfinite(leaf).all() for leaf in each[0].values()), "initial parameters must be finite")
    return each


def _check_outputs(model: Model, each: list[Params], observations: Tensor) -> None:
    """Check that one row alone, many rows, and many parameters at once give the same outputs."""
    whole = model.apply(each[0], observations[0])
    alone = model.apply(each[0], observations[0, 3])
    _require(isinstance(whole, tuple) and hasattr(whole, "_fields"), "outputs must be a NamedTuple of tensors")
    _require(
        _close(alone, tree_map(lambda leaf: leaf[3], whole)),
        "the outputs of an observation must not depend on the others beside it, or on their number",
    )
    stacked = {name: torch.stack([params[name] for params in each]) for name in each[0]}
    separate = [model.apply(params, seen) for params, seen in zip(each, observations, strict=True)]
    for function, name in ((model.apply_stacked, "apply_stacked"), (vmap(model.apply), "vmap of apply")):
        together = function(stacked, observations)
        for i, outputs in enumerate(separate):
            _require(
                _close(tree_map(lambda leaf, i=i: leaf[i], together), outputs),
                f"{name} of several tasks' parameters must give what apply gives for each of them",
            )


def _check_distribution(distribution: Any, noise: Tensor, action_space: Space) -> None:
    """Check the form of actions, the log-probabilities and the KL divergence."""
    actions = distribution.sample(noise)
    log_probs = distribution.log_prob(actions)
    for name, values in (("sample", actions), ("mode", distribution.mode)):
        _require(values.shape == noise.shape, f"{name} must be {_shape(noise)}; got {_shape(values)}")
        chosen = environment_actions(action_space)(values.numpy())
        fits = isinstance(action_space, Box) or all(action_space.contains(np.asarray(action)) for action in chosen)
        _require(fits, f"{name} must be an action of {action_space}; got {values.tolist()}")
    _require(log_probs.shape == noise.shape[:1], f"log_prob must be [{len(noise)}]; got {_shape(log_probs)}")
    finite = [actions, log_probs, *distribution.spread().values()]
    _require(all(torch.isfinite(values).all() for values in finite), "actions and log-probabilities must be finite")
    _require(not torch.equal(actions, distribution.sample(-noise)), "sample must depend on the noise")
    shifted = type(distribution)(*(field + 0.1 * torch.arange(1, field.shape[-1] + 1) for field in distribution))
    _require(_close(distribution.kl(distribution), torch.zeros(len(noise))), "kl to itself must be 0")
    _require(bool((distribution.kl(shifted) > 0).all()), "kl to another distribution must be positive")


def _check_adaptation(model: Model, theta: Params, observations: Tensor, noise: Tensor) -> None:
    """Check that an inner step of the paper's loss makes an action of positive advantage more probable."""
    distribution = model.apply(theta, observations)
    actions = distribution.sample(noise)
    advantages = torch.zeros(len(noise), 1).index_fill(0, torch.tensor([0]), 1.0)
    batch = PolicyBatch(
        observations=observations[:, None],
        actions=actions[:, None],
        log_probs=distribution.log_prob(actions)[:, None],
        advantages=advantages,
        mask=torch.ones_like(advantages),
        rewards=advantages,
    )
    learner = Learner(
        SGD(inner_step_size=1e-2).build(),
        inner_loss=lambda params, data: policy_gradient(model.apply(params, data.observations), data),
    )
    adapted = learner.adapt(theta, [batch])
    before, after = (model.apply(params, observations).log_prob(actions)[0] for params in (theta, adapted))
    _require(all(torch.isfinite(leaf).all() for leaf in adapted.values()), "adapted parameters must be finite")
    _require(bool(after > before), "a gradient step must make an action of positive advantage more probable")


def _require(holds: bool | Tensor, rule: str) -> None:
    if not holds:
        raise ValueError(f"this policy breaks a rule: {rule}")


def _same(params: Params, other: Params) -> bool:
    return params.keys() == other.keys() and all(torch.equal(leaf, other[name]) for name, leaf in params.items())


def _close(outputs: Any, other: Any) -> bool:
    pairs = zip(tree_leaves(outputs), tree_leaves(other), strict=True)
    return all(a.shape == b.shape and torch.allclose(a, b, rtol=RELATIVE, atol=ABSOLUTE) for a, b in pairs)


def _shape(values: Tensor) -> str:
    return str(list(values.shape))
