"""Packages that only some uses of metarl need: each belongs to an extra, `pip install 'metarl[EXTRA]'`.

A module that needs one imports it within `needs`, and who uses that module imports it where it is used, so that whoever
asks for nothing of the kind never misses it.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Literal

Extra = Literal["mujoco", "plots", "render", "tensorboard"]
PACKAGES: dict[Extra, tuple[str, ...]] = {  # as they are imported
    "mujoco": ("mujoco",),
    "plots": ("matplotlib",),
    "render": ("imageio", "imageio_ffmpeg"),
    "tensorboard": ("tensorboard",),
}


class MissingExtraError(ImportError):
    """A package that was asked for is not installed; the message is one line that says how to install it."""


def missing(extra: Extra) -> str | None:
    """The package of an extra that is not installed; None where all are."""
    return next((name for name in PACKAGES[extra] if importlib.util.find_spec(name) is None), None)


def require(extra: Extra, use: str) -> None:
    """Raise MissingExtraError unless the packages of an extra are installed; `use` is what needs them."""
    if (name := missing(extra)) is not None:
        raise MissingExtraError(_words(extra, use, name))


@contextlib.contextmanager
def needs(extra: Extra, use: str) -> Iterator[None]:
    """Name the extra where an import in this block finds none of its packages.

    Raises:
        MissingExtraError: a package of the extra is not installed. What else is missing is its own error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in PACKAGES[extra]:
            raise
        raise MissingExtraError(_words(extra, use, name)) from error


def advice(extra: Extra) -> str:
    """The command that installs an extra."""
    return f"pip install 'metarl[{extra}]'"


def _words(extra: Extra, use: str, name: str) -> str:
    return f"{use} need {name}, which is not installed: {advice(extra)}"
