"""Trust region policy optimisation of the meta-objective: what the paper's reinforcement problems are trained with."""

import math
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from metarl.engine.curvature import CURVATURES, EPSILON, FINITE_DIFFERENCES, Kind
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import LOSS, MOVED, OUTERS, Info, Outer, OuterOptimizer, State, nonfinite
from metarl.engine.params import Params, add, ravel, unravel
from metarl.engine.solvers import Matvec, backtracking_line_search, conjugate_gradient
from metarl.metrics import Metric
from metarl.parts import NOT_NEGATIVE, POSITIVE, SHARE, at_least, below

# The metrics of a step that was not even tried.
UNTRIED: Info = {"improvement": 0.0, "kl": 0.0, "backtracks": 0.0, "accepted": 0.0, "cg_iterations": 0.0}

SEARCH = (
    *MOVED,
    Metric(name="outer/backtracks", meaning="how often the line search shortened the step", higher_is_better=False),
    Metric(name="outer/accepted", meaning="1 where the line search took a step, else 0", higher_is_better=True),
    Metric(name="outer/cg_iterations", meaning="conjugate gradient iterations of the outer step"),
)
"""Declarations of the metrics that TRPO reports beside those of every optimiser."""


@OUTERS.register("trpo")
@dataclass(frozen=True, kw_only=True)
class TRPO(Outer):
    """Trust region policy optimisation (Schulman et al. 2015; Finn et al. 2017, section 4.2).

    Maximise the linearised improvement g^T s subject to s^T H s / 2 <= max_kl: s = H^-1 g by conjugate gradient, scaled
    by sqrt(2 max_kl / s^T H s), then shortened until the loss falls and the divergence is at most max_kl. If no length
    qualifies, theta stays as it is and the metric `accepted` is 0.
    """

    max_kl: Annotated[float, POSITIVE] = 0.01
    """Largest mean KL divergence of the adapted policies per outer step, in nats."""
    curvature: Kind = "gauss_newton"
    """How Hessian-vector products are taken; symmetric, forward: finite differences of the KL's gradient."""
    curvature_fraction: Annotated[float, SHARE] = 0.1
    """Share of the adapted policies' timesteps that Hessian-vector products average over, in (0, 1]."""
    curvature_tasks: Annotated[float, SHARE] = 0.5
    """Share of the tasks that Hessian-vector products average over, in (0, 1]."""
    finite_difference_epsilon: Annotated[float | None, POSITIVE] = None
    """Length of the step in parameter space, for symmetric and forward; None: 0.003, which suits float32."""
    cg_iterations: Annotated[int, at_least(1)] = 5
    """Conjugate gradient iterations at most."""
    cg_damping: Annotated[float, NOT_NEGATIVE] = 1e-5
    """Multiple of the identity added to the Hessian."""
    cg_tolerance: Annotated[float, NOT_NEGATIVE] = 1e-10
    """Squared norm of the residual below which conjugate gradient stops."""
    backtrack_ratio: Annotated[float, POSITIVE, below(1)] = 0.8
    """What a step that does not qualify is multiplied by."""
    max_backtracks: Annotated[int, at_least(1)] = 15
    """Lengths that are tried."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.finite_difference_epsilon is not None and not self._differences:
            raise ValueError(
                f"finite_difference_epsilon means nothing for curvature {self.curvature}, which takes no differences; "
                f"got {self.finite_difference_epsilon}"
            )

    def build(self) -> OuterOptimizer:
        """The optimiser; it keeps no state."""
        return OuterOptimizer(lambda theta: {}, self._step, (*LOSS, *SEARCH))

    @property
    def _differences(self) -> bool:
        """Whether the products are finite differences."""
        return CURVATURES[self.curvature] in FINITE_DIFFERENCES

    def _step(self, theta: Params, state: State, objective: MetaObjective) -> tuple[Params, State, Info]:
        loss, gradient = objective.loss_and_gradient(theta)
        g = ravel(gradient).double()
        info = {"loss": loss, "grad_norm": g.norm().item(), "nonfinite": 0.0}
        if broken := nonfinite(loss=loss, gradient=info["grad_norm"]):
            return theta, state, info | UNTRIED | broken

        options = {"epsilon": self.finite_difference_epsilon or EPSILON} if self._differences else {}
        matvec = objective.curvature(theta, self.curvature, self.curvature_fraction, self.curvature_tasks, **options)
        s, quadratic, info["cg_iterations"] = self._natural_direction(matvec, g)
        # No step can be sized without a gradient (0), or without positive curvature along the direction.
        if not (quadratic > 0 and math.isfinite(quadratic)):
            return theta, state, UNTRIED | info | nonfinite(curvature=quadratic)
        length = math.sqrt(2 * self.max_kl / (quadratic + 1e-8))  # 1e-8: the authors' release
        theta, found = self._line_search(objective, theta, unravel(length * s, theta), loss)
        return theta, state, info | found

    def _natural_direction(self, matvec: Matvec, g: Tensor) -> tuple[Tensor, float, float]:
        """The vector s ~ (H + damping I)^-1 g, s^T (H + damping I) s, and the iterations taken."""
        solution = conjugate_gradient(
            matvec, g, iterations=self.cg_iterations, tolerance=self.cg_tolerance, damping=self.cg_damping
        )
        s = solution.x
        quadratic = solution.quadratic
        # Finite differences are not linear in v, so that the quadratic form which conjugate gradient accumulates is
        # not theirs. It is computed anew, as in the authors' release.
        if quadratic > 0 and self._differences:
            quadratic = s.dot(matvec(s) + self.cg_damping * s).item()
        return s, quadratic, float(solution.iterations)

    def _line_search(
        self, objective: MetaObjective, theta: Params, full_step: Params, loss: float
    ) -> tuple[Params, Info]:
        """Theta after the longest step that qualifies (theta itself if none does), and how that was found."""
        tried: list[Info] = []

        def evaluate(scale: float) -> tuple[float, float]:
            moved_loss, kl = objective.loss_and_divergence(add(theta, full_step, -scale))
            tried.append(nonfinite(loss=moved_loss, kl=kl))
            return moved_loss, kl

        search = backtracking_line_search(
            evaluate, loss, max_divergence=self.max_kl, ratio=self.backtrack_ratio, attempts=self.max_backtracks
        )
        info = {
            "improvement": loss - search.loss,
            "kl": search.divergence,
            "backtracks": float(search.backtracks),
            "accepted": float(search.accepted),
        }
        if not search.accepted:
            # One finite trial shows that the others were only too long, which is not reported as broken.
            return theta, info | (tried[-1] if all(tried) else {})
        return add(theta, full_step, -search.scale), info
