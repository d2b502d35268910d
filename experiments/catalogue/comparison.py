"""Comparisons of methods: what each has of its own, and what all share."""

from dataclasses import dataclass
from typing import NamedTuple


class Method(NamedTuple):
    """One method of a comparison: its name in runs, its name in words, its flags of train.py, and their source."""

    name: str
    words: str
    flags: str
    source: str


@dataclass(frozen=True)
class Comparison:
    """Methods with the settings of their papers on one problem, for the same number of iterations and seeds.

    All sample the same number of tasks and episodes (or examples) in an iteration.
    """

    preset: str
    shared: str
    """Flags of train.py that all runs have."""
    methods: tuple[Method, ...]
    seeds: tuple[int, ...]

    def run(self, method: Method, seed: int) -> str:
        """The name of a run."""
        return f"{method.name}-seed{seed}"

    def flags(self, method: Method, seed: int) -> str:
        """The flags of a run after its preset."""
        return " ".join(f"{self.shared} {method.flags} --seed {seed}".split())
