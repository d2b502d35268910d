"""Meta-gradients by other packages, as their documentation has them: higher, and TorchOpt's two interfaces.

Each function takes one inner step in each task, and adds the gradient of the mean query loss to `grad` of the network's
parameters.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from metarl.experiments.benchmarks.peer_networks import Backward, Loss, Network
from metarl.extras import needs
from metarl.supervised.tasks import Examples

with needs("peers", "comparisons with other packages"):
    # By name, because type checkers would look for packages that are not installed where metarl is developed.
    higher: Any = importlib.import_module("higher")
    torchopt: Any = importlib.import_module("torchopt")


def by_higher(network: Network, loss: Loss, support: Examples, query: Examples, alpha: float) -> None:
    """Step a copy of the network in each task by a differentiable SGD, and go backward task by task."""
    inner = torch.optim.SGD(network.adapted.parameters(), lr=alpha)
    tasks = len(query.targets)
    for i in range(tasks):
        with higher.innerloop_ctx(network, inner, copy_initial_weights=False) as (fast, descent):
            descent.step(loss(fast(support.inputs[i]), _task(support, i)))
            (loss(fast(query.inputs[i]), _task(query, i)) / tasks).backward()


def by_torchopt(network: Network, loss: Loss, support: Examples, query: Examples, alpha: float) -> None:
    """Step the network itself by MetaSGD in each task, put it back, and go backward once."""
    inner = torchopt.MetaSGD(network.adapted, lr=alpha)
    parameters = torchopt.extract_state_dict(network.adapted, by="reference")
    state = torchopt.extract_state_dict(inner, by="reference")
    losses = []
    for i in range(len(query.targets)):
        inner.step(loss(network(support.inputs[i]), _task(support, i)))
        losses.append(loss(network(query.inputs[i]), _task(query, i)))
        torchopt.recover_state_dict(network.adapted, parameters)
        torchopt.recover_state_dict(inner, state)
    torch.stack(losses).mean().backward()


def by_torchopt_and_vmap(network: Network, loss: Loss, support: Examples, query: Examples, alpha: float) -> None:
    """Step by TorchOpt's functional SGD inside torch's vmap over tasks, and go backward once."""
    inner = torchopt.sgd(lr=alpha)
    theta = {name: leaf for name, leaf in network.named_parameters() if name.startswith("adapted.")}

    def loss_of(parameters: Mapping[str, Tensor], examples: Examples) -> Tensor:
        return loss(functional_call(network, dict(parameters), (examples.inputs,)), examples)

    def one_task(support_i: Examples, query_i: Examples) -> Tensor:
        gradient = grad(loss_of)(theta, support_i)
        updates, _ = inner.update(gradient, inner.init(theta), params=theta, inplace=False)
        return loss_of(torchopt.apply_updates(theta, updates, inplace=False), query_i)

    vmap(one_task)(support, query).mean().backward()


PEERS: dict[str, Backward] = {
    "higher": by_higher,
    "torchopt": by_torchopt,
    "torchopt, vmap": by_torchopt_and_vmap,
}


def _task(examples: Examples, i: int) -> Examples:
    return Examples(*(field[i] for field in examples))
