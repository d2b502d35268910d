"""The configuration of a run: one frozen dataclass, whose fields are the flags of the command line."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import Suppress

from metarl.engine.trust_region import EPSILON

Method = Literal["maml", "random"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that determines a run's numbers. Values are validated on construction (ValueError)."""

    preset: Annotated[str, Suppress]
    """Name of the preset that this configuration started from."""
    method: Method = "maml"
    """maml: meta-train. random: fresh weights, a run of zero iterations, adapted at evaluation like the others."""
    seed: int = 1
    """Key of everything random: initial weights, tasks, rollouts."""
    iterations: int = 500
    """Meta-iterations (outer steps)."""
    device: str = "cpu"
    """Torch device of parameters and batches; environments are stepped on the CPU."""

    environment: str
    """Registered id of a task-parameterised Gymnasium environment; MODULE:ID imports the module that registers it."""
    environment_options: dict[str, int | float | str]
    """Options of the environment: those that a preset names are flags of their own names; others NAME VALUE ..."""
    horizon: int = 100
    """Timesteps per episode at most."""
    tasks: int = 40
    """Tasks per meta-batch."""
    episodes: int = 20
    """Episodes per task, before and after each inner step."""
    discount: float = 0.99
    """Discount of future rewards per timestep."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation; 1 is the discounted return minus the baseline."""

    hidden_sizes: tuple[int, ...] = (100, 100)
    """Units of the policy's hidden layers."""
    activation: Literal["relu", "tanh"] = "relu"
    """Nonlinearity of the policy."""
    initial_std: float = 1.0
    """Initial standard deviation of the actions, in the policy's units (the action space is [-1, 1])."""
    min_std: float = 1e-6
    """Lower bound of the standard deviation."""

    inner_steps: int = 1
    """Gradient steps per task during meta-training; 0 trains without adaptation."""
    inner_step_size: float = 0.1
    """Step size alpha of the inner gradient steps."""
    rule: Literal["sgd"] = "sgd"
    """Inner rule. sgd: MAML's gradient steps on all parameters."""
    inner_loss: Literal["log_prob", "likelihood_ratio"] = "log_prob"
    """log_prob: the paper's. likelihood_ratio: the same gradient, but the Hessian of the true objective."""
    first_order: bool = False
    """First-order MAML: treat the inner gradient as a constant."""

    outer: Literal["trpo", "adam"] = "trpo"
    """Outer optimiser."""
    max_kl: float = 0.01
    """TRPO: largest mean KL divergence of the adapted policies per outer step, in nats."""
    curvature: Literal["symmetric", "forward", "gauss_newton", "exact"] = "gauss_newton"
    """TRPO: how Hessian-vector products are taken; symmetric, forward: finite differences of the KL's gradient."""
    curvature_fraction: float = 0.1
    """TRPO: share of the timesteps that the Hessian-vector products are taken from, in (0, 1]."""
    finite_difference_epsilon: float = EPSILON
    """TRPO: length of the finite-difference step in parameter space."""
    cg_iterations: int = 5
    """TRPO: conjugate gradient iterations."""
    cg_damping: float = 1e-5
    """TRPO: multiple of the identity added to the Hessian."""
    learning_rate: float = 1e-3
    """Adam: step size."""

    evaluation_steps: int = 3
    """Gradient steps at evaluation."""
    evaluation_step_sizes: tuple[float, ...] = (0.1, 0.05)
    """Step size of each gradient step at evaluation; the last one repeats."""
    evaluation_tasks: int = 40
    """Held-out tasks at evaluation."""
    evaluation_episodes: int = 20
    """Episodes per task and gradient step at evaluation."""
    evaluation_counting: Literal["episodes", "timesteps"] = "episodes"
    """episodes: complete episodes, every one counts. timesteps: as the authors' release counts, episodes x horizon
    timesteps with immediate restarts, which over-represents episodes that end early."""
    evaluation_checkpoint: Literal["best", "last"] = "best"
    """Which parameters to evaluate: those with the best training return after adaptation, or the last."""
    published_tasks: bool = False
    """Evaluate on the 40 test tasks of the published curves instead of tasks keyed by the seed."""

    evaluate_every: int = 0
    """Evaluate on held-out tasks during training every so many iterations; 0: not during training."""
    render_every: int = 0
    """Film the first held-out task before and after adaptation, for TensorBoard, every so many iterations; 0: never."""
    checkpoint_every: int = 1
    """Write a checkpoint every so many iterations."""

    def __post_init__(self) -> None:
        for name in (
            "horizon",
            "tasks",
            "episodes",
            "cg_iterations",
            "evaluation_tasks",
            "evaluation_episodes",
            "checkpoint_every",
        ):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in (
            "seed",
            "iterations",
            "inner_steps",
            "evaluation_steps",
            "evaluate_every",
            "render_every",
            "cg_damping",
        ):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        for name in (
            "inner_step_size",
            "initial_std",
            "min_std",
            "max_kl",
            "finite_difference_epsilon",
            "learning_rate",
        ):
            value = getattr(self, name)
            _require(0 < value < math.inf, name, value, "a positive number")
        _require(self.cg_damping < math.inf, "cg_damping", self.cg_damping, "a finite number")
        for name in ("discount", "gae_lambda"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        _require(0 < self.curvature_fraction <= 1, "curvature_fraction", self.curvature_fraction, "in (0, 1]")
        for name in ("hidden_sizes", "evaluation_step_sizes"):
            values = getattr(self, name)
            positive = bool(values) and all(0 < value < math.inf for value in values)
            _require(positive, name, values, "a list of positive numbers")
        _require(self.seed < 2**32, "seed", self.seed, "below 2^32")
        _require(self.min_std <= self.initial_std, "initial_std", self.initial_std, f"at least min_std, {self.min_std}")

    @property
    def experiment(self) -> str:
        """The preset without `-paper`: what curves are compared under."""
        return self.preset.removesuffix("-paper")

    @property
    def run_name(self) -> str:
        """Name of the default run directory."""
        return f"{self.preset}-{self.method}-seed{self.seed}"

    @property
    def outer_steps(self) -> int:
        """Meta-iterations that the method makes: none for random."""
        return 0 if self.method == "random" else self.iterations

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them: tuples become lists."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """The inverse of `to_dict`. Raises ValueError for unknown or missing fields and impossible values."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - set(fields)):
            raise ValueError(f"unknown configuration field {unknown[0]!r}")
        required = {name for name, field in fields.items() if field.default is dataclasses.MISSING}
        if missing := sorted(required - set(values)):
            raise ValueError(f"configuration field {missing[0]!r} is missing")
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        return cls(**plain)


def _require(condition: bool, name: str, value: object, right: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {right}; got {value}")
