"""Objectives for tests of outer optimisers: a small regression, and a stand-in that answers a quadratic."""

from typing import Any

import torch
from conftest import Regression, learner_of, regression, sgd

from metarl.engine.model import Model
from metarl.engine.objective import MetaObjective, TaskFunctions
from metarl.engine.params import Params, ravel
from metarl.engine.solvers import Matvec


def regression_objective(model: Model, theta: Params, scale: float = 1.0) -> MetaObjective:
    functions = TaskFunctions(lambda task: scale * ((task.outputs - task.query.targets) ** 2).mean())
    support, query = (Regression(*(field.to(ravel(theta)) for field in regression(seed))) for seed in (0, 1))
    return MetaObjective(theta, learner_of(model, sgd(0.1)), functions, [support], query)


class Recorder:
    """Stands in for an objective: answers a quadratic, and remembers how its curvature was asked for."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor
        self.asked: tuple[Any, ...] = ()

    def loss_and_gradient(self, theta: Params) -> tuple[float, Params]:
        return 1.0, {"x": torch.ones_like(theta["x"])}

    def curvature(self, theta: Params, kind: str, fraction: float, tasks: float, **options: float) -> Matvec:
        self.asked = (kind, fraction, tasks, options)
        return lambda v: self.factor * v

    def loss_and_divergence(self, theta: Params) -> tuple[float, float]:
        return 0.0, 0.0


THREE_ZEROS = {"x": torch.zeros(3, dtype=torch.float64)}
