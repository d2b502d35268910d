"""Options of a run that a later command gives otherwise, such as the number of tasks of an evaluation."""

from typing import Any

from metarl.training.config import Config
from metarl.training.tree import flat, with_options


def overridden(config: Config, arguments: Any, options: dict[str, str]) -> Config:
    """The configuration with the options that a script's arguments give.

    Args:
        config: of the run.
        arguments: of the script; None where nothing was given.
        options: argument of the script -> option of the configuration.

    Raises:
        ValueError: an argument that means nothing for this run, or an impossible value.
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
