"""Small tabular processes, whose trajectories are so few that expectations are sums, without sampling error."""

from typing import NamedTuple

import torch
from torch import Tensor

from metarl.engine.params import Params
from metarl.rl.distributions import Categorical
from metarl.rl.episodes import PolicyBatch

LOGITS = "logits"  # name of the only parameter: [S, A], a softmax policy


class Process(NamedTuple):
    """A Markov decision process of S states and A actions."""

    start: Tensor  # [S] probabilities
    moves: Tensor  # [S, A, S] probabilities of the next state
    rewards: Tensor  # [S, A]
    horizon: int  # T timesteps


class Trajectories(NamedTuple):
    """N sequences of states and actions."""

    states: Tensor  # [T, N]
    actions: Tensor  # [T, N]


def random_process(states: int, actions: int, horizon: int, *, seed: int) -> tuple[Process, Params]:
    """A process whose probabilities are all positive, and a policy for it, in float64."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    process = Process(
        randn(states).softmax(-1), (2 * randn(states, actions, states)).softmax(-1), randn(states, actions), horizon
    )
    return process, {LOGITS: randn(states, actions)}


def all_trajectories(process: Process) -> Trajectories:
    """Every sequence that has a probability, N = (S A)^T."""
    states, actions = process.rewards.shape
    steps = torch.cartesian_prod(*[torch.arange(states * actions)] * process.horizon).reshape(-1, process.horizon).T
    return Trajectories(steps // actions, steps % actions)


def log_probabilities(process: Process, policy: Params, trajectories: Trajectories) -> Tensor:
    """The log-probability of each trajectory under a policy, [N]."""
    states, actions = trajectories
    chosen = policy[LOGITS].log_softmax(-1)[states, actions].sum(0)
    moved = process.moves.log()[states[:-1], actions[:-1], states[1:]].sum(0)
    return process.start.log()[states[0]] + chosen + moved


def returns(process: Process, trajectories: Trajectories) -> Tensor:
    """The undiscounted return of each trajectory, [N]."""
    return process.rewards[trajectories.states, trajectories.actions].sum(0)


def expected_return(process: Process, policy: Params) -> Tensor:
    """The expected return of a policy, a sum over all trajectories: a scalar, differentiable to any order."""
    every = all_trajectories(process)
    return (log_probabilities(process, policy, every).exp() * returns(process, every)).sum()


def act(policy: Params, batch: PolicyBatch) -> Categorical:
    """The policy's distribution on a batch whose observations are states, one-hot."""
    return Categorical((batch.observations @ policy[LOGITS])[..., None, :])


def batch_of(
    process: Process, policy: Params, trajectories: Trajectories, baseline: Tensor | float = 0.0
) -> PolicyBatch:
    """Trajectories as the batch of one task [T, N], collected by a policy; discount and lambda are 1.

    Args:
        process: the process.
        policy: the policy that sampled.
        trajectories: what it sampled.
        baseline: of each timestep and state, [T, S]; advantages are the rewards to go minus the baseline.
    """
    states, actions = trajectories
    rewards = process.rewards[states, actions]
    to_go = rewards.flip(0).cumsum(0).flip(0)
    if isinstance(baseline, Tensor):
        to_go = to_go - baseline.gather(1, states)
    log_probs = policy[LOGITS].log_softmax(-1)[states, actions].detach()
    observations = torch.nn.functional.one_hot(states, len(process.start)).double()
    return PolicyBatch(observations, actions[..., None].double(), log_probs, to_go, torch.ones_like(rewards), rewards)


def values(process: Process, policy: Params) -> Tensor:
    """The expected return from each timestep and state on, [T, S]: the best baseline that knows the state."""
    chosen = policy[LOGITS].softmax(-1)
    ahead = torch.zeros_like(process.start)
    found = []
    for _ in range(process.horizon):
        ahead = (chosen * (process.rewards + process.moves @ ahead)).sum(-1)
        found.append(ahead)
    return torch.stack(found[::-1])
