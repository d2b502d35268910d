"""Presets with changed options, built, to be timed."""

from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from metarl.engine.outer import OuterOptimizer
from metarl.experiments.presets.configuration import preset_config
from metarl.rl.problem import MetaRL
from metarl.training.config import Config
from metarl.training.tree import flat, with_options


class Configured(NamedTuple):
    """A preset of reinforcement learning, built."""

    config: Config
    options: Any  # the configuration's options as attributes, named as their flags
    problem: MetaRL
    outer: OuterOptimizer

    def environments(self, count: int) -> Any:
        """`count` environments of the preset."""
        return cast(Any, self.config.problem).environment.build(count, horizon=self.options.horizon)


def configured(preset: str, changes: dict[str, Any]) -> Configured:
    """Build a preset of reinforcement learning with other values of some options."""
    return built(with_options(preset_config(preset), changes))


def built(config: Config) -> Configured:
    """Build a configuration of reinforcement learning."""
    problem = cast(MetaRL, config.problem.build(config.setting()))
    return Configured(config, SimpleNamespace(**flat(config)), problem, config.outer.build())
