"""The same learning rate at every outer step."""

from dataclasses import dataclass

from metarl.engine.schedules import SCHEDULES, Schedule, Share


@SCHEDULES.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """The same learning rate at every outer step."""

    def build(self) -> Share:
        """The whole learning rate, always."""
        return lambda steps: 1.0
