"""The same work by other packages: meta-gradients by higher and TorchOpt, sampling by Stable-Baselines3."""

from typing import Any

from rich.console import Console

from metarl.experiments.benchmarks.peer_networks import meta_iterations
from metarl.experiments.benchmarks.report import show


def peers(console: Console, *, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """Measure meta-iterations and sampling of metarl and of other packages in turn.

    `supervised`: processor time of data, meta-gradient and Adam on one thread; the packages are given metarl's data.
    Before, each must have metarl's meta-gradient in float64. `ratio` is a package's time divided by metarl's of the
    same round, the median, lowest and highest over rounds.
    `sampling`: environment steps per second with a policy, of metarl's half-cheetahs and of Gymnasium's in
    Stable-Baselines3's vector environments; `ratio` is metarl's speed divided by theirs.

    Raises:
        ValueError: a package has another meta-gradient.
    """
    # Imported here, because they import packages of an extra.
    from metarl.experiments.benchmarks.peer_sampling import sampling
    from metarl.experiments.benchmarks.peer_steps import PEERS

    tables = {"supervised": meta_iterations(PEERS, quick=quick), "sampling": sampling(quick=quick)}
    show(console, "a meta-iteration of supervised MAML, one thread", tables["supervised"])
    show(console, "sampling half-cheetahs, environment steps per second", tables["sampling"])
    return tables
