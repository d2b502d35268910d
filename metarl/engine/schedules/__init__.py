"""Schedules of an outer optimiser's learning rate, one a file, its options beside it. A new one is one file here."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from metarl.parts import Part, Registry

Share = Callable[[float], float]  # steps of Adam taken so far -> share of the learning rate that the next one has


class Schedule(Part, ABC):
    """How the learning rate changes over the steps of Adam."""

    @property
    def length(self) -> int | None:
        """Steps of Adam after which the learning rate changes no more; None where there is no such number."""
        return None

    @abstractmethod
    def build(self) -> Share:
        """Make the function, which has no state: a run that was interrupted goes on with the same learning rates.

        Raises:
            ValueError: an option that must be given is missing.
        """


SCHEDULES: Registry[Schedule] = Registry("schedule", "metarl.engine.schedules", base=Schedule)
