"""The wheel that the tree builds, installed in a folder of its own, as its user meets it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from scripts import ROOT

FILES = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("metarl", "envs", "experiments")
BUILD = """
import importlib, pathlib, sys, tomllib

backend = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["build-system"]["build-backend"]
importlib.import_module(backend).build_wheel(sys.argv[1])
"""


class Installed(NamedTuple):
    """Where the wheel is, and what it was installed into."""

    wheel: Path
    site: Path  # of packages

    def start(self, command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        """A line of a shell in a folder, where `python` and `metarl` are those of the installed copy."""
        places = (self.site / "bin", Path(sys.executable).parent, Path("/usr/bin"), Path("/bin"))
        environment = os.environ | {"PYTHONPATH": str(self.site), "PATH": os.pathsep.join(map(str, places))}
        return subprocess.run(
            command, shell=True, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )


def install(folder: Path) -> Installed:
    """Build the wheel offline from a copy of the tree, which it leaves clean, and install it without dependencies."""
    source, dist, site = folder / "source", folder / "dist", folder / "site"
    source.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    # As `pip wheel` does, which starts four processes for it.
    subprocess.run([sys.executable, "-c", BUILD, dist], cwd=source, check=True, capture_output=True)
    (wheel,) = dist.iterdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--no-compile", "--target", site, wheel], check=True)
    return Installed(wheel, site)
