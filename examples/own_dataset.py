"""Datasets of your own: fitting straight lines, and fitting oscillations that fade.

    python experiments/train.py sinusoid --dataset examples/own_dataset.py:lines --steepest 2

`function_regression` makes tasks of any function of one variable, and `few_shot_from_arrays` makes tasks of your images
and labels. `check_dataset` tells whether a dataset keeps the contract.
"""

import numpy as np

from metarl.supervised.regression import function_regression
from metarl.supervised.tasks import SupervisedTasks


def lines(*, steepest: float = 3.0) -> SupervisedTasks:
    """Fitting y = a x + b: a task is a slope and an offset."""
    ranges = {"slope": (-steepest, steepest), "offset": (-1.0, 1.0)}
    return function_regression(lambda x, slope, offset: slope * x + offset, ranges, inputs=(-5.0, 5.0))


def fading(*, fade: float = 0.3) -> SupervisedTasks:
    """Fitting y = a exp(-fade |x|) cos(w x): a task is an amplitude and a frequency."""
    ranges = {"amplitude": (0.5, 5.0), "frequency": (0.5, 2.0)}
    return function_regression(lambda x, a, w: a * np.exp(-fade * abs(x)) * np.cos(w * x), ranges, inputs=(-5.0, 5.0))
