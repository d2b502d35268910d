"""ProMP, proximal meta-policy search: PPO that also holds the policy before adaptation (Rothfuss et al. 2019)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from metarl.engine.maml import AdaptedTask, OuterLoss
from metarl.engine.objective import MetaObjective
from metarl.engine.outer import OUTERS, Info, OuterOptimizer, State
from metarl.engine.outer.ppo import PPO
from metarl.engine.params import Params
from metarl.engine.schedules import Share
from metarl.metrics import Metric
from metarl.parts import NOT_NEGATIVE, POSITIVE

PRE_UPDATE = (
    Metric(
        name="outer/pre_update_kl",
        meaning="mean KL divergence of the policy before adaptation that the outer step made",
        unit="nats",
    ),
    Metric(name="outer/kl_penalty", meaning="eta, the weight of that divergence in the outer loss"),
)
"""Declarations of the metrics that ProMP reports beside those of PPO."""
NEAR = 1.5  # eta stays while the divergence is within this factor of its target, as in the authors' code
CHANGE = 2.0  # factor by which eta changes otherwise, as in the authors' code


@OUTERS.register("promp")
@dataclass(frozen=True, kw_only=True)
class ProMP(PPO):
    """PPO's loss plus eta times the divergence of the policy before adaptation (Rothfuss et al. 2019, equation 15).

    The paper's inner loss is `likelihood_ratio`, whose gradient stays right while theta moves through the epochs.
    """

    kl_penalty: Annotated[float, NOT_NEGATIVE] = 5e-4
    """Eta, the weight of the divergence; with a target, at the start."""
    kl_target: Annotated[float | None, POSITIVE] = None
    """Divergence of an outer step, in nats, that eta is adapted to: halved where the step stays below it by a factor of
    1.5, doubled where it exceeds it by as much; None: eta is fixed, as in the paper."""

    def build(self) -> OuterOptimizer:
        """The optimiser; its state has Adam's moments and eta."""

        def init(theta: Params) -> State:
            return self.moments(theta) | {"kl_penalty": torch.tensor(self.kl_penalty, dtype=torch.float64)}

        built = super().build()
        return built._replace(init=init, measures=(*built.measures, *PRE_UPDATE))

    def _loss(self, objective: MetaObjective, state: State) -> OuterLoss:
        """PPO's clipped loss plus eta times the divergence before adaptation (equation 15)."""
        clipped = objective.clipped(self.clip)
        divergence = objective.pre_update_divergence
        eta = state["kl_penalty"].item()

        def loss(task: AdaptedTask) -> Tensor:
            return clipped(task) + eta * divergence(task)

        return loss

    def _epochs(
        self, theta: Params, state: State, objective: MetaObjective, share: Share
    ) -> tuple[Params, State, Info]:
        """PPO's outer step, and eta for the next one."""
        moved, after, info = super()._epochs(theta, state, objective, share)
        before = objective.with_outer_loss(objective.pre_update_divergence)
        kl, _ = (0.0, 0.0) if info["nonfinite"] else before.loss_and_divergence(moved)
        info |= {"pre_update_kl": kl, "kl_penalty": state["kl_penalty"].item()}
        if self.kl_target is not None and not info["nonfinite"]:
            after = after | {"kl_penalty": self._adapted(state["kl_penalty"], kl, self.kl_target)}
        return moved, after, info

    @staticmethod
    def _adapted(eta: Tensor, kl: float, target: float) -> Tensor:
        """Eta for the next step."""
        if kl < target / NEAR:
            return eta / CHANGE
        return eta * CHANGE if kl > target * NEAR else eta
