"""PPO and ProMP: epochs of Adam on one meta-batch, against torch's Adam on a loop over tasks."""

from typing import Any, cast

import pytest
import torch
from conftest import REGRESSION, TASKS, gaussian_mlp, learner_of, parameters, policy_objective, regression, sgd
from oracles import task
from torch.utils._pytree import tree_map

from metarl.engine.model import Model, mlp
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import OUTERS
from metarl.engine.outer.ppo import PPO
from metarl.engine.outer.promp import ProMP
from metarl.engine.params import Params, add, ravel


def ppo_by_hand(
    policy: Model, theta: Params, objective: MetaObjective, eta: float, *, epochs: int, clip: float
) -> Params:
    """PPO's loss, and eta times the divergence before adaptation, by torch.optim and a loop over tasks."""
    leaves = {name: leaf.clone().requires_grad_() for name, leaf in theta.items()}
    adam = torch.optim.Adam(leaves.values(), lr=0.01)
    (support,), query = objective.support, objective.query
    for _ in range(epochs):
        total = torch.zeros((), dtype=torch.float64)
        for i in range(len(query.mask)):
            first, second = task(support, i), task(query, i)
            inner = objective.learner.inner_loss(leaves, first)
            steps = torch.autograd.grad(inner, list(leaves.values()), create_graph=True)
            adapted = {name: leaf - 0.1 * g for (name, leaf), g in zip(leaves.items(), steps, strict=True)}
            log_probs = policy.apply(adapted, second.observations).log_prob(second.actions)
            ratio, gain = (log_probs - second.log_probs).exp(), second.advantages
            surrogate = torch.where(gain > 0, ratio.clamp(max=1 + clip) * gain, ratio.clamp(min=1 - clip) * gain)
            kl = policy.apply(theta, first.observations).kl(policy.apply(leaves, first.observations))
            total = total - (surrogate * second.mask).sum() / second.mask.sum()
            total = total + eta * (kl * first.mask).sum() / first.mask.sum()
        adam.zero_grad()
        (total / len(query.mask)).backward()
        adam.step()
    return {name: leaf.detach() for name, leaf in leaves.items()}


@pytest.mark.parametrize(("name", "eta"), [("ppo", 0.0), ("promp", 0.0), ("promp", 3.0)])
def test_ppo_and_promp_equal_a_loop(name: str, eta: float) -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    options = {"learning_rate": 0.01, "epochs": 4, "clip": 0.05} | ({"kl_penalty": eta} if name == "promp" else {})
    optimiser = cast(Any, OUTERS.find(name))(**options).build()
    state = optimiser.init(theta)
    new, state, info = optimiser.step(theta, state, objective)
    expected = ppo_by_hand(policy, theta, objective, eta, epochs=4, clip=0.05)
    torch.testing.assert_close(new, expected, rtol=1e-8, atol=1e-10)
    loss, kl = objective.loss_and_divergence(new)
    assert (info["kl"], state["step"]) == (pytest.approx(kl), 4)
    assert info["improvement"] == pytest.approx(info["loss"] - loss)
    assert loss < objective.loss_and_divergence(theta)[0]


def test_minibatches_are_steps_on_consecutive_tasks_in_turn() -> None:
    """Two epochs over parts of 1 and 2 of the 3 tasks, and the loss of the whole before."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    whole = policy_objective(policy, theta)
    expected = theta
    plain = PPO(epochs=1, clip=0.05).build()
    state = plain.init(theta)
    for part in (slice(0, 1), slice(1, 3)) * 2:
        support, query = tree_map(lambda leaf, part=part: leaf[part], (whole.support, whole.query))
        alone = MetaObjective(theta, whole.learner, whole.functions, support, query)
        expected, state, _ = plain.step(expected, state, alone)
    optimiser = PPO(epochs=2, clip=0.05, minibatches=2).build()
    moved, after, info = optimiser.step(theta, optimiser.init(theta), whole)
    torch.testing.assert_close(moved, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(after, state, rtol=1e-12, atol=1e-14)
    assert info["loss"] == pytest.approx(whole.loss_and_divergence(theta)[0])
    assert (info["epochs"], after["step"]) == (2, 4)


def test_ranks_without_a_task_of_a_minibatch_add_zeros() -> None:
    """Losses and gradients of minibatches of one task, summed over two ranks with 1 and 2 of the 3 tasks."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    moved = add(theta, theta, 0.1)
    whole = policy_objective(policy, theta)
    ranks = []
    for first, part in ((0, slice(0, 1)), (1, slice(1, 3))):
        support, query = tree_map(lambda leaf, part=part: leaf[part], (whole.support, whole.query))
        ranks.append(
            MetaObjective(
                theta, whole.learner, whole.functions, support, query, num_tasks=TASKS, first_task=first
            ).minibatches(3)
        )
    for together, *parts in zip(whole.minibatches(3), *ranks, strict=True):
        loss, gradient = together.loss_and_gradient(moved)
        answers = [part.loss_and_gradient(moved) for part in parts]
        assert sum(answer[0] for answer in answers) == pytest.approx(loss, rel=1e-12)
        torch.testing.assert_close(sum(ravel(g) for _, g in answers), ravel(gradient), rtol=1e-10, atol=1e-14)


def test_more_minibatches_than_tasks_are_refused() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(4,))
    theta = parameters(policy)
    optimiser = PPO(minibatches=4).build()
    with pytest.raises(ValueError, match="minibatches must be at most 3, the tasks of a meta-batch; got 4"):
        optimiser.step(theta, optimiser.init(theta), policy_objective(policy, theta))


def test_epochs_end_once_the_divergence_exceeds_its_target() -> None:
    """After the first epoch whose divergence is larger, which counts."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)

    def stepped(**options: Any) -> tuple[Params, dict[str, float]]:
        optimiser = PPO(learning_rate=0.01, **options).build()
        moved, _, info = optimiser.step(theta, optimiser.init(theta), objective)
        return moved, info

    reached = [stepped(epochs=epochs)[1]["kl"] for epochs in (1, 2, 3)]
    assert reached == sorted(reached)
    for target, epochs in ((reached[0] / 2, 1), (reached[0] * 1.01, 2), (reached[1] * 1.01, 3)):
        moved, info = stepped(epochs=9, target_kl=target)
        assert info["epochs"] == epochs
        torch.testing.assert_close(moved, stepped(epochs=epochs)[0], rtol=0, atol=0)


PROXIMAL: dict[str, Any] = {
    "minibatches": 2,
    "target_kl": 1e-9,
    "epochs": 2,
    "clip": 0.01,
    "kl_penalty": 9.0,
    "kl_target": 1e-9,
    "learning_rate": 0.03,
}


@pytest.mark.parametrize("name", PROXIMAL)
def test_every_option_of_promp_changes_what_comes_of_two_steps(name: str) -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective, found = policy_objective(policy, theta), []
    for changes in ({}, {name: PROXIMAL[name]}):
        optimiser = ProMP(**{"learning_rate": 0.02, "kl_penalty": 1.0, **changes}).build()
        moved, state, _ = optimiser.step(theta, optimiser.init(theta), objective)
        found.append(ravel(optimiser.step(moved, state, objective)[0]))
    assert not torch.equal(*found)


def test_eta_follows_its_target() -> None:
    """Halved where the policy before adaptation moved less than the target, doubled where it moved more."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    objective = policy_objective(policy, theta)
    free = ProMP(kl_penalty=0.5).build()
    moved, state, info = free.step(theta, free.init(theta), objective)
    reached = info["pre_update_kl"]
    kl = policy.apply(theta, objective.support[0].observations).kl(
        policy.apply(moved, objective.support[0].observations)
    )
    masks = objective.support[0].mask
    assert reached == pytest.approx(((kl * masks).sum((1, 2)) / masks.sum((1, 2))).mean().item(), rel=1e-9)
    assert (info["kl_penalty"], state["kl_penalty"]) == (0.5, 0.5)
    for target, expected in ((reached / 1.6, 1.0), (reached / 1.4, 0.5), (reached * 1.4, 0.5), (reached * 1.6, 0.25)):
        adaptive = ProMP(kl_penalty=0.5, kl_target=target).build()
        assert adaptive.step(theta, adaptive.init(theta), objective)[1]["kl_penalty"] == expected


@pytest.mark.parametrize("minibatches", [1, 3])
@pytest.mark.parametrize("name", ["ppo", "promp"])
def test_all_epochs_are_refused_with_one_step(name: str, minibatches: int) -> None:
    """Steps of this size overflow in the second epoch, or in the second minibatch."""
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,))
    theta = parameters(policy)
    optimiser = cast(Any, OUTERS.find(name))(learning_rate=1e200, minibatches=minibatches).build()
    state = optimiser.init(theta)
    same, unchanged, info = optimiser.step(theta, state, policy_objective(policy, theta))
    assert same is theta and unchanged is state
    assert (info["nonfinite"], info["kl"], info["improvement"]) == (1, 0, 0)
    assert info.get("pre_update_kl", 0) == 0


def test_what_has_no_ratios_cannot_be_clipped() -> None:
    model = mlp((2, 4, 2), "tanh")
    theta = parameters(model)
    objective = MetaObjective(theta, learner_of(model, sgd(0.1)), REGRESSION, [regression(0)], regression(1))
    optimiser = PPO().build()
    with pytest.raises(ValueError, match="no likelihood ratios to clip: choose the outer optimiser adam instead"):
        optimiser.step(theta, optimiser.init(theta), objective)


def test_without_inner_steps_promp_holds_the_policy_on_the_query() -> None:
    policy = gaussian_mlp(2, 2, hidden_sizes=(8,), activation="tanh")
    theta = parameters(policy)
    optimiser = ProMP().build()
    _, _, info = optimiser.step(theta, optimiser.init(theta), policy_objective(policy, theta, inner_steps=0))
    assert info["pre_update_kl"] == info["kl"] > 0
