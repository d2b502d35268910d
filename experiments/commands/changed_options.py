"""Options of a run that a later command may change, such as the number of tasks of an evaluation."""

from typing import Any

from metarl.training.config import Config
from metarl.training.tree import flat, with_options


def overridden(config: Config, arguments: Any, options: dict[str, str]) -> Config:
    """The configuration with the options that a script's arguments give.

    Args:
        config: the run's configuration.
        arguments: the script's arguments; None is the value of those that were not given.
        options: argument of the script -> option of the configuration.

    Raises:
        ValueError: an argument means nothing for this run, or a value is impossible.
    """
    known = flat(config)
    values = {}
    for argument, option in options.items():
        value = getattr(arguments, argument)
        if value is None:
            continue
        if option not in known:
            flag = f"--{argument.replace('_', '-')}"
            raise ValueError(f"{flag} means nothing for {config.preset}, got {value}")
        values[option] = value
    return with_options(config, values)
