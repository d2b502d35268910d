"""Sinusoid regression (Finn et al. 2017, section 5.1): y = a sin(x - b), a task is (a, b)."""

import numpy as np
import torch
from numpy.typing import NDArray

from metarl.supervised.tasks import Examples, Split, TaskDistribution

AMPLITUDE, PHASE, INPUT = (0.1, 5.0), (0.0, np.pi), (-5.0, 5.0)  # uniform; phase in radians


def sinusoid(*, task_in_inputs: bool = False) -> TaskDistribution:
    """Tasks [n, 2]: amplitude, phase. Inputs [N, 1], targets [N, 1], float32. The three splits are one distribution.

    Args:
        task_in_inputs: append amplitude and phase to every input, [N, 3] (the oracle).
    """

    def sample_tasks(rng: np.random.Generator, n: int, split: Split) -> NDArray[np.float64]:
        return _uniform(rng.random((n, 2)), *np.transpose([AMPLITUDE, PHASE]))

    def examples(
        tasks: NDArray[np.float64], rng: np.random.Generator, shots: int, queries: int
    ) -> tuple[Examples, Examples]:
        x = _uniform(rng.random((len(tasks), shots + queries, 1)), *INPUT)
        amplitude, phase = tasks[:, None, :1], tasks[:, None, 1:]
        y = amplitude * np.sin(x - phase)
        if task_in_inputs:
            x = np.concatenate([x, np.broadcast_to(tasks[:, None], (*x.shape[:2], 2))], axis=-1)
        inputs, targets = torch.from_numpy(x).float(), torch.from_numpy(y).float()
        return Examples(inputs[:, :shots], targets[:, :shots]), Examples(inputs[:, shots:], targets[:, shots:])

    return TaskDistribution(sample_tasks, examples, lambda task: f"amplitude {task[0]:.2f}, phase {task[1]:.2f}")


def _uniform(unit: NDArray[np.float64], low: object, high: object) -> NDArray[np.float64]:
    return np.asarray(low) + unit * (np.asarray(high) - np.asarray(low))
