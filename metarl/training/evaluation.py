"""Held-out tasks, and scores on them after 0 .. K gradient steps."""

import numpy as np
from numpy.typing import NDArray

from metarl.engine.params import Params
from metarl.problem import Evaluation, Film, Problem
from metarl.randomness import Purpose
from metarl.training.config import Config


def held_out_tasks(problem: Problem, config: Config) -> NDArray[np.float64]:
    """The tasks [N, k] that training never sees, keyed by the run's seed."""
    return problem.sample_tasks(config.seed, Purpose.EVALUATION_TASKS, count=config.evaluation_tasks)


def validation_tasks(problem: Problem, config: Config) -> NDArray[np.float64]:
    """Other tasks [N, k] that training never sees: those to look at, and to choose parameters by, while it runs."""
    return problem.sample_tasks(config.seed, Purpose.VALIDATION_TASKS, count=config.validation_tasks)


def evaluate(
    problem: Problem,
    theta: Params,
    config: Config,
    tasks: NDArray[np.float64],
    *,
    purpose: Purpose = Purpose.EVALUATION_TASKS,
) -> Evaluation:
    """Score theta after 0 .. evaluation_steps gradient steps with the test step sizes, on tasks [N, k]."""
    return problem.evaluate(theta, config.test_rule, config.test_steps, tasks, config.seed, purpose=purpose)


def validation_pictures(problem: Problem, theta: Params, config: Config) -> list[Film]:
    """The first validation task, before and after adaptation."""
    rule = config.test_rule
    steps = min(max(1, config.inner_steps), config.test_steps)
    tasks = validation_tasks(problem, config)
    purpose = Purpose.VALIDATION_TASKS
    return problem.pictures(theta, rule, steps, tasks, 0, config.seed, purpose=purpose)
