"""Meta-iterations with the meta-gradient of another package, beside metarl's."""

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metarl.engine.model import Model
from metarl.engine.params import Params
from metarl.experiments.benchmarks.report import in_turn, spread
from metarl.experiments.benchmarks.supervised import ALPHA, LEARNING_RATE, iteration_of, problem_of
from metarl.supervised.losses import KINDS
from metarl.supervised.problem import MetaSupervised
from metarl.supervised.tasks import Examples
from metarl.threads import torch_threads

NETWORKS = {"sinusoid": ("dense", "dense"), "omniglot": ("patches", "conv2d")}  # problem -> ours, the packages'
KIND = {"sinusoid": "regression", "omniglot": "classification"}
SAME = 1e-9  # the largest relative difference of two meta-gradients in float64 that counts as rounding

Loss = Callable[[Tensor, Examples], Tensor]
# The network, its loss, the examples that tasks [M, ...] adapt to and are scored on, the inner step size: adds the
# meta-gradient to `grad` of the network's parameters.
Backward = Callable[["Network", Loss, Examples, Examples, float], None]


class Network(nn.Module):
    """One of metarl's models as other packages want it, a module with parameters of its own.

    Args:
        model: the pure functions.
        theta: initial values.
        adapted: names of the parameters that inner steps move; these belong to the submodule `adapted`.
    """

    def __init__(self, model: Model, theta: Params, adapted: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self.names = [(name, name.replace(".", "_"), name in adapted) for name in theta]
        self.adapted = nn.ParameterDict({own: theta[name].clone() for name, own, moves in self.names if moves})
        self.held = nn.ParameterDict({own: theta[name].clone() for name, own, moves in self.names if not moves})

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs on the inputs of one task."""
        return self.model.apply({name: self.own(own, moves) for name, own, moves in self.names}, inputs)

    def own(self, name: str, moves: bool) -> Tensor:
        """The parameter with a name of this module's own."""
        return (self.adapted if moves else self.held)[name]

    def gradient(self) -> Tensor:
        """What `grad` of the parameters holds, in theta's order, [P]."""
        leaves = [self.own(own, moves).grad for _, own, moves in self.names]
        return torch.cat([leaf.flatten() for leaf in leaves if leaf is not None])


@torch_threads(1)
def meta_iterations(packages: Mapping[str, Backward], *, quick: bool) -> list[dict[str, Any]]:
    """The rows of `supervised`; see `peers.peers`."""
    rows = []
    for name, (ours, theirs) in NETWORKS.items():
        problem = problem_of(name, ours, "compiled", quick)
        other = problem_of(name, theirs, "vmap", quick)
        steps = {
            "metarl": iteration_of(problem),
            "metarl, not compiled": iteration_of(problem_of(name, ours, "vmap", quick)),
        }
        for package, backward in packages.items():
            require_same_gradient(name, package, problem, other.model, backward)
            steps[package] = _iteration(name, problem, other.model, backward)
        for step in steps.values():
            step()
        count = 1 if quick else {"sinusoid": 20, "omniglot": 1}[name]  # of iterations in a round
        rounds = in_turn(steps, count, 2 if quick else 9)
        for package in steps:
            taken = statistics.median(times[package] for times in rounds)
            ratios = [times[package] / times["metarl"] for times in rounds]
            rows.append({"problem": name, "package": package, "seconds": taken, **spread(ratios)})
    return rows


def require_same_gradient(name: str, package: str, problem: MetaSupervised, model: Model, backward: Backward) -> None:
    """Raise ValueError unless a package has the problem's meta-gradient of one meta-batch in float64.

    Args:
        name: the problem, a key of ALPHA.
        package: what to call the package.
        problem: metarl's side.
        model: the package's network, of the same parameters.
        backward: the package's meta-gradient.
    """
    theta = problem.initial_parameters(0)
    support, query = map(_double, _examples(problem, theta))
    theta = {leaf_name: leaf.double() for leaf_name, leaf in theta.items()}
    gradients, *_ = problem.learner.task_gradients(problem.functions.outer_loss, theta, (support,), query)
    expected = torch.cat([leaf.mean(0).flatten() for leaf in gradients.values()])
    network = Network(model, theta, problem.learner.rule.start(theta))
    backward(network, KINDS[KIND[name]].loss, support, query, ALPHA[name])
    error = ((network.gradient() - expected).norm() / expected.norm()).item()
    # A difference that is not a number is no small one.
    if not error < SAME:
        raise ValueError(f"{package} has another meta-gradient of {name}: it is off by {error:.1e}")


def _iteration(name: str, problem: MetaSupervised, model: Model, backward: Backward) -> Callable[[], None]:
    """Make a function that repeats iteration 1 by another package: metarl's data, its meta-gradient, torch's Adam."""
    theta = problem.initial_parameters(0)
    network = Network(model, theta, problem.learner.rule.start(theta))
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    loss = KINDS[KIND[name]].loss

    def step() -> None:
        support, query = _examples(problem, theta)
        adam.zero_grad()
        backward(network, loss, support, query, ALPHA[name])
        adam.step()

    return step


def _examples(problem: MetaSupervised, theta: Params) -> tuple[Examples, Examples]:
    """Support and query examples of iteration 1, every leaf [M, ...]."""
    objective, _ = problem.collect(theta, 1)
    return objective.support[0], objective.query


def _double(examples: Examples) -> Examples:
    """Examples whose numbers that are not labels are float64."""
    return Examples(*(field.double() if field.is_floating_point() else field for field in examples))
