"""A small tree of parts for tests: a run with a tool, which may have a bit."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from metarl.parts import HIDDEN, MAY_CHANGE, POSITIVE, Part, Registry, at_least

TOOLS: Registry[Any] = Registry("tool", "metarl.engine")
BITS: Registry[Any] = Registry("bit", "metarl.engine")


@BITS.register("wood")
@dataclass(frozen=True, kw_only=True)
class Wood(Part):
    """For wood."""

    width: Annotated[float, POSITIVE] = 4.0
    """In millimetres."""

    def build(self) -> float:
        return self.width


@BITS.register("steel")
@dataclass(frozen=True, kw_only=True)
class Steel(Part):
    """For steel."""

    hardness: Literal["soft", "hard"] = "hard"
    """Of the edge."""

    def build(self) -> str:
        return self.hardness


@TOOLS.register("hammer")
@dataclass(frozen=True, kw_only=True)
class Hammer(Part):
    """Hits."""

    weight: Annotated[float, POSITIVE] = 2.0
    """In kilograms."""

    def build(self) -> float:
        return self.weight


@TOOLS.register("drill")
@dataclass(frozen=True, kw_only=True)
class Drill(Part):
    """Turns. And has a bit."""

    speed: Annotated[float | None, POSITIVE] = None
    """Turns per second."""
    bit: Annotated[Any, BITS] = Wood()
    """What turns."""

    def build(self) -> float | None:
        return self.speed


@dataclass(frozen=True, kw_only=True)
class Basics(Part):
    """What is built."""

    preset: Annotated[str, HIDDEN] = "table"
    seed: Annotated[int, at_least(0)] = 1
    """Key of everything random."""
    rounds: Annotated[int, at_least(0), MAY_CHANGE] = 5
    """How often."""
    sizes: Annotated[tuple[float, ...], POSITIVE] = (0.1,)
    """Of the boards."""


@dataclass(frozen=True, kw_only=True)
class Work(Basics):
    """How it is built."""

    tool: Annotated[Any, TOOLS] = Hammer()
    """With what."""
    quiet: bool = False
    """Without noise."""
