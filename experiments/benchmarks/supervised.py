"""Meta-iterations of supervised MAML on one thread in several formulations, against a Python loop over tasks."""

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from metarl.engine.gradients import TaskGradients
from metarl.engine.model import Model
from metarl.engine.outer.adam import Adam
from metarl.engine.params import Params
from metarl.engine.rules.sgd import SGD
from metarl.experiments.benchmarks.report import in_turn, seconds, show
from metarl.supervised.datasets.sinusoid import Sinusoid
from metarl.supervised.few_shot import ImageClasses, few_shot
from metarl.supervised.models import EPSILON, convolutional_classifier, regressor
from metarl.supervised.problem import ExampleSettings, MetaSupervised
from metarl.supervised.tasks import Examples
from metarl.threads import torch_threads

ALPHA = {"sinusoid": 0.01, "omniglot": 0.4}
LEARNING_RATE = 1e-3  # of Adam
SIZE = 28
WAYS = 5
NEVER = 10**9  # logged
FORMULATIONS: dict[str, dict[str, tuple[str, str]]] = {  # problem -> name -> network, how gradients are taken
    "sinusoid": {
        "loop over tasks": ("dense", "loop"),
        "vmap": ("dense", "vmap"),
        "vmap, compiled": ("dense", "compiled"),
    },
    "omniglot": {
        "loop over tasks, conv2d and torch's batch norm": ("conv2d", "loop"),
        "vmap, conv2d and torch's batch norm": ("conv2d", "vmap"),
        "vmap, patches": ("patches", "vmap"),
        "vmap, conv2d and torch's batch norm, compiled": ("conv2d", "compiled"),
        "vmap, patches, compiled": ("patches", "compiled"),
    },
}


@torch_threads(1)
def supervised(console: Console, *, quick: bool) -> list[dict[str, Any]]:
    """Measure the processor time of a meta-iteration (data, meta-gradient, Adam) of every formulation.

    Figures are medians over rounds, in which formulations take turns. The first formulation of each problem is the
    reference, whose meta-gradient the others must have.
    """
    rows = []
    for name, formulations in FORMULATIONS.items():
        problems = {words: problem_of(name, *how, quick) for words, how in formulations.items()}
        steps = {words: iteration_of(problem) for words, problem in problems.items()}
        starting = {words: seconds(step) for words, step in steps.items()}
        _require_equal(problems)
        count = 1 if quick else {"sinusoid": 20, "omniglot": 1}[name]  # of iterations in a round
        rounds = in_turn(steps, count, 2 if quick else 9)
        reference = next(iter(formulations))
        for words in formulations:
            taken = statistics.median(times[words] for times in rounds)
            faster = statistics.median(times[reference] / times[words] for times in rounds)
            rows.append(
                {
                    "problem": name,
                    "formulation": words,
                    "seconds": taken,
                    "times_as_fast": faster,
                    "first_seconds": starting[words],
                }
            )
    show(console, "a meta-iteration of supervised MAML, one thread", rows)
    return rows


def problem_of(name: str, network: str, how: str, quick: bool) -> MetaSupervised:
    """Build a problem with a network and a way to take gradients, as FORMULATIONS names them, logging nothing."""
    if name == "sinusoid":
        tasks = Sinusoid().build()
        sizes = (3 if quick else 25, 10, 10)
    else:
        # Random pixels, because images make no difference to the time.
        images = (np.random.default_rng(0).random((40 * 20, SIZE, SIZE, 1)) < 0.1).astype(np.uint8)
        classes = np.arange(40)
        data = ImageClasses(images, np.full(40, 20), {"train": classes}, white=1.0)
        tasks = few_shot(data, ways=WAYS, rotate=True)
        sizes = (2 if quick else 32, 1, 1)
    filters = 4 if quick else 64
    model = {
        "dense": lambda: regressor(1, (40, 40), 1),
        "patches": lambda: convolutional_classifier((SIZE, SIZE, 1), filters, WAYS, pooled=False),
        "conv2d": lambda: _torchs_layers(filters),
    }[network]()
    count, shots, queries = sizes
    problem = MetaSupervised(
        tasks.distribution,
        model,
        tasks.kind,
        SGD(inner_step_size=ALPHA[name]).build(),
        inner_steps=1,
        settings=ExampleSettings(count, shots, queries, queries, log_every=NEVER),
        seed=1,
        compiled=how == "compiled" and not quick,
    )
    if how == "loop":
        problem.gradients = _loop(problem, ALPHA[name])
    return problem


def _torchs_layers(filters: int) -> Model:
    """Omniglot's network with the same parameters, made of torch's own convolution and batch norm."""
    patches = convolutional_classifier((SIZE, SIZE, 1), filters, WAYS, pooled=False)

    def apply(params: Params, inputs: Tensor) -> Tensor:
        hidden = inputs.movedim(-1, 1)
        for layer in range(4):
            hidden = functional.conv2d(hidden, params[f"body.{layer}.weight"], stride=2, padding=1)
            shift = params[f"body.{layer}.shift"]
            hidden = torch.relu(functional.batch_norm(hidden, None, None, None, shift, training=True, eps=EPSILON))
        return functional.linear(hidden.mean((2, 3)), params["head.weight"], params["head.bias"])

    return Model(patches.init, apply)


def _loop(problem: MetaSupervised, alpha: float) -> TaskGradients:
    """Make the straightforward meta-gradient: task after task, by double backward."""

    def gradients(theta: Params, support: tuple[Examples, ...], query: Examples) -> tuple[Params, Tensor, tuple[()]]:
        per_task: list[tuple[Tensor, ...]] = []
        losses: list[Tensor] = []
        for i in range(len(query.targets)):
            leaves = {name: leaf.detach().requires_grad_() for name, leaf in theta.items()}
            fast = [name for name in leaves if not name.endswith(".shift")]
            loss = problem.learner.inner_loss(leaves, Examples(*(field[i] for field in support[0])))
            steps = torch.autograd.grad(loss, [leaves[name] for name in fast], create_graph=True)
            adapted = leaves | {name: leaves[name] - alpha * step for name, step in zip(fast, steps, strict=True)}
            loss = problem.learner.inner_loss(adapted, Examples(*(field[i] for field in query)))
            per_task.append(torch.autograd.grad(loss, list(leaves.values())))
            losses.append(loss.detach())
        stacked = [torch.stack(leaf) for leaf in zip(*per_task, strict=True)]
        return dict(zip(theta, stacked, strict=True)), torch.stack(losses), ()

    return gradients


def iteration_of(problem: MetaSupervised) -> Callable[[], object]:
    """Make a function that repeats iteration 1: data, meta-gradient, Adam."""
    optimiser = Adam(learning_rate=LEARNING_RATE).build()
    theta = problem.initial_parameters(0)
    state = optimiser.init(theta)
    return lambda: optimiser.step(theta, state, problem.collect(theta, 1)[0])


def _require_equal(problems: dict[str, MetaSupervised]) -> None:
    """Raise ValueError unless all problems have the first one's meta-gradient, in the median over tasks.

    In float32 the meta-gradient of a single task may differ by more: where rounding switches a ReLU, the inner gradient
    jumps.
    """
    first: Tensor | None = None
    for words, problem in problems.items():
        theta = problem.initial_parameters(0)
        objective, _ = problem.collect(theta, 1)
        gradients, *_ = problem.gradients(theta, objective.support, objective.query)
        flat = torch.cat([leaf.flatten(1) for leaf in gradients.values()], 1)  # [M, P]
        first = flat if first is None else first
        error = ((flat - first).norm(dim=1) / first.norm(dim=1)).median().item()
        if error > 1e-4:
            raise ValueError(f"{words!r} has another meta-gradient: the median task's is off by {error:.1e}")
