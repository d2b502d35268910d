"""Packages hidden from imports, as if they were not installed."""

import importlib.abc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest

from metarl.extras import PACKAGES

NEED = (  # modules that import packages of an extra as they are loaded
    "metarl.envs.mujoco_rendering",
    "metarl.envs.physics.binding",
    "metarl.envs.physics.models",
    "metarl.envs.physics.mujoco_device",
    "metarl.envs.physics.mujoco_threads",
    "metarl.envs.physics.planar",
    "metarl.envs.physics.worlds",
    "metarl.experiments.benchmark",
    "metarl.experiments.benchmarks.estimator_figure",
    "metarl.experiments.benchmarks.peer_sampling",
    "metarl.experiments.benchmarks.peer_steps",
    "metarl.experiments.analysis.comparison_figures",
    "metarl.experiments.figures.run_figures",
    "metarl.experiments.analysis.study_figures",
    "metarl.supervised.pictures",
    "metarl.training.callbacks.tensorboard",
    "metarl.training.tensorboard_files",
    "torch.utils.tensorboard",
)


class Hiding(importlib.abc.MetaPathFinder):
    """Finds what the other finders find, but for some packages."""

    def __init__(self, names: Sequence[str], finders: Sequence[Any]) -> None:
        self.names, self.finders = names, finders

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.split(".")[0] in self.names:
            return None
        found = (finder.find_spec(fullname, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)

    def find_distributions(self, context: Any) -> Iterator[Any]:
        hidden = str(context.name).replace("-", "_") in self.names
        for finder in self.finders:
            if not hidden and hasattr(finder, "find_distributions"):
                yield from finder.find_distributions(context)


@contextmanager
def hidden(*extras: str) -> Iterator[None]:
    """Imports in this block find nothing of these extras; modules of metarl that need them are not loaded.

    Afterwards all modules are those of before: what is compiled must not be loaded twice.
    """
    names = [name for extra, packages in PACKAGES.items() if extra in extras for name in packages]

    def concerned(module: str) -> bool:
        return module.split(".")[0] in names or any(f"{module}.".startswith(f"{name}.") for name in NEED)

    with pytest.MonkeyPatch.context() as patch:
        for module in [name for name in sys.modules if concerned(name)]:
            patch.delitem(sys.modules, module)
        patch.setattr(sys, "meta_path", [Hiding(names, sys.meta_path)])
        yield
        for module in [name for name in sys.modules if concerned(name)]:
            del sys.modules[module]
