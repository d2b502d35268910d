"""Keyed random numbers: every number of a run comes from a generator keyed by its use, never from global state.

So tasks and rollouts do not depend on the number of threads or ranks, on what was drawn before, or on a resume.
"""

from enum import IntEnum

import numpy as np
import torch

from metarl.tasks import Split


class Purpose(IntEnum):
    """What a generator's numbers are used for. The values are part of a run's identity: never reuse one."""

    PARAMETERS = 0
    TRAINING_TASKS = 1
    TRAINING_ROLLOUTS = 2
    EVALUATION_TASKS = 3
    EVALUATION_ROLLOUTS = 4
    BOOTSTRAP = 5
    PICTURES = 6
    VALIDATION_TASKS = 7
    TRAINING_EXAMPLES = 8
    EVALUATION_EXAMPLES = 9
    VALIDATION_EXAMPLES = 10
    VALIDATION_ROLLOUTS = 11
    VALIDATION_PICTURES = 12


SPLIT_OF: dict[Purpose, Split] = {  # what tasks are for -> the split that they are drawn from
    Purpose.TRAINING_TASKS: "train",
    Purpose.VALIDATION_TASKS: "validation",
    Purpose.EVALUATION_TASKS: "test",
}

PICTURES_OF = {  # what tasks are for -> what pictures of them are keyed by
    Purpose.VALIDATION_TASKS: Purpose.VALIDATION_PICTURES,
    Purpose.EVALUATION_TASKS: Purpose.PICTURES,
}


def seed_sequence(seed: int, purpose: Purpose, *key: int) -> np.random.SeedSequence:
    """The seed for (seed, purpose, key), where key is for example (iteration, inner step, global task index).

    A purpose's keys must all have the same length, and every number must be below 2^32: SeedSequence pads with zeros.
    """
    return np.random.SeedSequence([seed, purpose, *key])


def numpy_generator(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """A NumPy generator of its own for (seed, purpose, key)."""
    return np.random.default_rng(seed_sequence(seed, purpose, *key))


def torch_generator(seed: int, purpose: Purpose, *key: int) -> torch.Generator:
    """A torch generator (CPU) of its own for (seed, purpose, key)."""
    state = int(seed_sequence(seed, purpose, *key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state >> 1)  # 63 bits: non-negative also as a signed number
