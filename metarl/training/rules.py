"""The inner rules that a configuration names: that of training, and that of evaluation with its step sizes."""

from metarl.engine.rules import RULES, InnerRule, first_order
from metarl.training.config import Config


def training_rule(config: Config) -> InnerRule:
    """The rule of the meta-gradient's inner steps."""
    rule = RULES.find(config.rule)(inner_step_size=config.inner_step_size).build()  # pyright: ignore[reportCallIssue]
    return first_order(rule) if config.first_order else rule


def evaluation_rule(config: Config) -> InnerRule:
    """The rule of the gradient steps at evaluation."""
    rule = RULES.find(config.rule)(inner_step_size=config.inner_step_size)  # pyright: ignore[reportCallIssue]
    return rule.build(config.test_step_sizes)
