"""Sinusoid regression (Finn et al. 2017, section 5.1): y = a sin(x - b), a task is (a, b)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from metarl.supervised.datasets import DATASETS, Dataset
from metarl.supervised.regression import function_regression
from metarl.supervised.tasks import KindName, SupervisedTasks

PARAMETERS = {"amplitude": (0.1, 5.0), "phase": (0.0, np.pi)}  # phase in radians
INPUTS = (-5.0, 5.0)


@DATASETS.register("sinusoid")
@dataclass(frozen=True, kw_only=True)
class Sinusoid(Dataset):
    """Sine curves of different amplitudes and phases."""

    kind: ClassVar[KindName] = "regression"

    def build(self) -> SupervisedTasks:
        """Make tasks [n, 2]: amplitude, phase."""
        return function_regression(_sine, PARAMETERS, INPUTS)


def _sine(x: NDArray[np.float64], amplitude: NDArray[np.float64], phase: NDArray[np.float64]) -> NDArray[np.float64]:
    return amplitude * np.sin(x - phase)
