"""Packages that only some uses of metarl need: most belong to an extra, `pip install 'metarl[EXTRA]'`.

A module that needs one imports it within `needs`. Other modules import that module inside the functions that use it, so
that a package is missed only by those who ask for what it is needed for.
"""

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Literal

Extra = Literal["gpu", "mujoco", "plots", "render", "tensorboard", "peers"]
PACKAGES: dict[Extra, tuple[str, ...]] = {  # as they are imported
    "gpu": ("mujoco_warp",),
    "mujoco": ("mujoco",),
    "plots": ("matplotlib",),
    "render": ("imageio", "imageio_ffmpeg"),
    "tensorboard": ("tensorboard",),
    "peers": ("higher", "torchopt", "stable_baselines3"),
}
Beside = Literal["metaworld"]
# Packages that no extra can name, because they ask for another version of something than metarl does. For each: the
# optional packages that it imports, and the command that installs it beside metarl.
BESIDE: dict[Beside, tuple[tuple[str, ...], str]] = {
    "metaworld": (
        ("metaworld", "mujoco", "imageio"),
        "pip install 'metarl[mujoco,render]' && pip install --no-deps metaworld==3.1.1",
    ),
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
def needs(extra: Extra | Beside, use: str) -> Iterator[None]:
    """Name the extra, or the command in BESIDE, where an import in this block misses one of the packages.

    Raises:
        MissingExtraError: one of its packages is not installed. What else is missing is its own error.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in (BESIDE[extra][0] if extra == "metaworld" else PACKAGES[extra]):
            raise
        raise MissingExtraError(_words(extra, use, name)) from error


def advice(extra: Extra | Beside) -> str:
    """The command that installs an extra, or what is installed beside them."""
    return BESIDE[extra][1] if extra == "metaworld" else f"pip install 'metarl[{extra}]'"


def _words(extra: Extra | Beside, use: str, name: str) -> str:
    return f"{use} need {name}, which is not installed: {advice(extra)}"
