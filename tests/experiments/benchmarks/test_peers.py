"""Comparisons with other packages, by a stand-in for those that are not installed here."""

import pytest
import torch

from metarl.experiments.benchmarks.peer_networks import Loss, Network, meta_iterations
from metarl.experiments.benchmarks.peer_sampling import sampling
from metarl.experiments.benchmarks.report import spread
from metarl.supervised.tasks import Examples


def straightforward(network: Network, loss: Loss, support: Examples, query: Examples, alpha: float) -> None:
    """A loop over tasks with double backward, through the module's interface as other packages have it."""
    names = [name for name, _ in network.adapted.named_parameters()]
    tasks = len(query.targets)
    for i in range(tasks):
        own = [network.adapted[name] for name in names]
        before = loss(network(support.inputs[i]), Examples(*(field[i] for field in support)))
        steps = torch.autograd.grad(before, own, create_graph=True)
        moved = {f"adapted.{name}": leaf - alpha * step for name, leaf, step in zip(names, own, steps, strict=True)}
        outputs = torch.func.functional_call(network, moved, (query.inputs[i],))
        (loss(outputs, Examples(*(field[i] for field in query))) / tasks).backward()


def first_order(network: Network, loss: Loss, support: Examples, query: Examples, alpha: float) -> None:
    """Leave out the second derivatives."""
    straightforward(network, loss, support, query, 0.0)


def test_what_has_the_same_gradient_is_timed() -> None:
    rows = meta_iterations({"loop": straightforward}, quick=True)
    names = ["metarl", "metarl, not compiled", "loop"]
    assert [(row["problem"], row["package"]) for row in rows] == [
        (problem, name) for problem in ("sinusoid", "omniglot") for name in names
    ]
    assert all(row["seconds"] > 0 and row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in rows)
    assert all(row["ratio"] == 1 for row in rows if row["package"] == "metarl")


def test_another_gradient_is_not_timed() -> None:
    with pytest.raises(ValueError, match="mistaken has another meta-gradient of sinusoid: it is off by"):
        meta_iterations({"loop": straightforward, "mistaken": first_order}, quick=True)


def test_a_gradient_that_is_missing_or_not_finite_is_not_timed() -> None:
    def broken(network: Network, loss: Loss, support: Examples, query: Examples, alpha: float) -> None:
        straightforward(network, loss, support, query, float("nan"))

    with pytest.raises(ValueError, match="it is off by nan"):
        meta_iterations({"broken": broken}, quick=True)


def test_stable_baselines_samples_beside_metarl() -> None:
    ours, *others = sampling(quick=True)
    assert ours["package"] == "metarl"
    assert [row["num_envs"] for row in others] == [1, 4, 16]
    assert all(row["steps_per_s"] > 0 and row["ratio_low"] <= row["ratio"] <= row["ratio_high"] for row in others)


def test_a_spread_is_around_the_median() -> None:
    assert spread([4.0, 1.0, 2.0]) == {"ratio": 2.0, "ratio_low": 1.0, "ratio_high": 4.0}
