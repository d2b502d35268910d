"""The configuration of a run: frozen dataclasses, whose fields are the flags of the command line."""

import dataclasses
import json
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import Suppress

from metarl.engine.curvature import EPSILON
from metarl.training.values import typed

Method = Literal["maml", "pretrained", "oracle", "random"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every run has. Values are validated on construction (ValueError)."""

    preset: Annotated[str, Suppress]
    """Name of the preset that this configuration started from."""
    method: Method = "maml"
    """maml: meta-train. pretrained: train one model on all tasks, without adaptation. oracle: likewise, and the model
    is given the task. random: fresh weights, a run of zero iterations. All but oracle are adapted at evaluation."""
    seed: int = 1
    """Key of everything random: initial weights, tasks, data."""
    iterations: int = 500
    """Meta-iterations (outer steps)."""
    device: str = "cpu"
    """Torch device of parameters and batches; environments are stepped on the CPU."""

    tasks: int = 40
    """Tasks per meta-batch."""

    inner_steps: int = 1
    """Gradient steps per task during meta-training; 0 trains without adaptation."""
    inner_step_size: float = 0.1
    """Step size alpha of the inner gradient steps."""
    rule: Literal["sgd", "meta-sgd"] = "sgd"
    """Inner rule. sgd: MAML's gradient steps. meta-sgd: the same with a meta-learned step size for every parameter,
    which starts from inner_step_size."""
    first_order: bool = False
    """First-order MAML: treat the inner gradient as a constant."""

    learning_rate: float = 1e-3
    """Adam: step size."""

    evaluation_steps: int = 3
    """Gradient steps at evaluation."""
    evaluation_step_sizes: tuple[float, ...] = (0.1, 0.05)
    """Step size of each gradient step at evaluation; the last one repeats. None given: inner_step_size."""
    evaluation_tasks: int = 40
    """Held-out tasks at evaluation."""
    evaluation_checkpoint: Literal["best", "last"] = "best"
    """Which parameters to evaluate: the best by training return after adaptation (reinforcement learning) or on the
    validation tasks (supervised), or the last."""

    validation_tasks: int = 40
    """Tasks that are scored during training; neither trained on nor evaluated on."""
    evaluate_every: int = 0
    """Score the validation tasks every so many iterations, and at the end; 0: never."""
    render_every: int = 0
    """Picture the first validation task before and after adaptation, for TensorBoard, every so many iterations; 0:
    never."""
    checkpoint_every: int = 1
    """Write a checkpoint every so many iterations."""
    log_every: int = 1
    """Measure and log the training metrics every so many iterations."""

    max_nonfinite: int = 10
    """Stop after so many outer steps in a row that were refused because something was not finite."""

    def __post_init__(self) -> None:
        least_1 = ("tasks", "evaluation_tasks", "validation_tasks", "checkpoint_every", "log_every", "max_nonfinite")
        for name in least_1:
            _require_at_least(self, 1, name)
        for name in ("seed", "iterations", "inner_steps", "evaluation_steps", "evaluate_every", "render_every"):
            _require_at_least(self, 0, name)
        for name in ("inner_step_size", "learning_rate"):
            _require_positive(self, name)
        if self.evaluation_step_sizes:
            _require_all_positive(self, "evaluation_step_sizes")
        _require(self.seed < 2**32, "seed", self.seed, "below 2^32")

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

    @property
    def adaptation_steps(self) -> int:
        """Inner steps that the method trains with: pretrained and oracle are K = 0 and nothing more."""
        return 0 if self.method in ("pretrained", "oracle") else self.inner_steps

    @property
    def test_steps(self) -> int:
        """Gradient steps at evaluation: none for the oracle, which knows the task."""
        return 0 if self.method == "oracle" else self.evaluation_steps

    @property
    def test_step_sizes(self) -> tuple[float, ...]:
        """Of the gradient steps at evaluation."""
        return self.evaluation_step_sizes or (self.inner_step_size,)

    @property
    def score(self) -> str:
        """The score of an evaluation that tables and figures show."""
        raise NotImplementedError

    @property
    def learning_curve(self) -> str:
        """The training metric that shows learning, without its number of gradient steps."""
        raise NotImplementedError

    @property
    def protocol(self) -> dict[str, Any]:
        """How an evaluation is made: what scores must share to be compared."""
        return {"tasks": self.evaluation_tasks, "step_sizes": list(self.test_step_sizes)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them: tuples become lists."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Config":
        """The inverse of `to_dict`. Raises ValueError for unknown or missing fields and impossible values."""
        problem = values.get("problem", "reinforcement")  # the only one before 0.4
        if not isinstance(problem, str) or problem not in PROBLEMS:
            raise ValueError(f"unknown problem {problem!r}: choose one of {', '.join(PROBLEMS)}")
        kind = PROBLEMS[problem]
        before = {name: value for name, value in ADDED.items() if name in typing.get_type_hints(kind)}
        return kind(**typed(kind, before | dict(values)))


@dataclass(frozen=True, kw_only=True)
class RLConfig(Config):
    """Everything that determines the numbers of a reinforcement-learning run."""

    problem: Annotated[Literal["reinforcement"], Suppress] = "reinforcement"
    """Which kind of configuration this is."""
    environment: str
    """Registered id of a task-parameterised Gymnasium environment; MODULE:ID imports the module that registers it."""
    environment_options: dict[str, int | float | str]
    """Options of the environment: those that a preset names are flags of their own names; others NAME VALUE ..."""
    horizon: int = 100
    """Timesteps per episode at most."""
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

    inner_loss: Literal["log_prob", "likelihood_ratio"] = "log_prob"
    """log_prob: the paper's. likelihood_ratio: the same gradient, but the Hessian of the true objective."""

    outer: Literal["trpo", "adam"] = "trpo"
    """Outer optimiser."""
    max_kl: float = 0.01
    """TRPO: largest mean KL divergence of the adapted policies per outer step, in nats."""
    curvature: Literal["symmetric", "forward", "gauss_newton", "exact"] = "gauss_newton"
    """TRPO: how Hessian-vector products are taken; symmetric, forward: finite differences of the KL's gradient."""
    curvature_fraction: float = 0.1
    """TRPO: share of the adapted policies' timesteps that Hessian-vector products average over, in (0, 1]."""
    curvature_tasks: float = 0.5
    """TRPO: share of the tasks that they average over, in (0, 1]."""
    finite_difference_epsilon: float = EPSILON
    """TRPO: length of the finite-difference step in parameter space."""
    cg_iterations: int = 5
    """TRPO: conjugate gradient iterations."""
    cg_damping: float = 1e-5
    """TRPO: multiple of the identity added to the Hessian."""

    evaluation_episodes: int = 20
    """Episodes per task and gradient step at evaluation."""
    evaluation_counting: Literal["episodes", "timesteps"] = "episodes"
    """episodes: complete episodes, every one counts. timesteps: as the authors' release counts, episodes x horizon
    timesteps with immediate restarts, which over-represents episodes that end early."""
    published_tasks: bool = False
    """Evaluate on the 40 test tasks of the published curves instead of tasks keyed by the seed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("horizon", "episodes", "cg_iterations", "evaluation_episodes"):
            _require_at_least(self, 1, name)
        for name in ("initial_std", "min_std", "max_kl", "finite_difference_epsilon"):
            _require_positive(self, name)
        _require(0 <= self.cg_damping < math.inf, "cg_damping", self.cg_damping, "a finite number, at least 0")
        for name in ("discount", "gae_lambda"):
            _require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        for name in ("curvature_fraction", "curvature_tasks"):
            _require(0 < getattr(self, name) <= 1, name, getattr(self, name), "in (0, 1]")
        _require_all_positive(self, "hidden_sizes")
        for name, episodes in (("tasks", "episodes"), ("evaluation_tasks", "evaluation_episodes")):
            timesteps = getattr(self, name) * getattr(self, episodes) * self.horizon
            _require(timesteps <= MOST, f"{name} x {episodes} x horizon", timesteps, f"at most {MOST:,}")
        _require(self.min_std <= self.initial_std, "initial_std", self.initial_std, f"at least min_std, {self.min_std}")
        if self.first_order and self.rule == "meta-sgd" and self.outer == "trpo":
            exact = "gauss_newton or exact with first_order and rule meta-sgd: differences miss the step sizes"
            _require(self.curvature in ("gauss_newton", "exact"), "curvature", self.curvature, exact)

    @property
    def score(self) -> str:
        """The average return."""
        return "average_return"

    @property
    def learning_curve(self) -> str:
        """Returns over the meta-batch."""
        return "rollout/return"

    @property
    def protocol(self) -> dict[str, Any]:
        """Also how episodes are counted, and whose tasks."""
        return super().protocol | {
            "episodes": self.evaluation_episodes,
            "counting": self.evaluation_counting,
            "published_tasks": self.published_tasks,
        }


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(Config):
    """Everything that determines the numbers of a supervised run."""

    problem: Annotated[Literal["supervised"], Suppress] = "supervised"
    """Which kind of configuration this is."""
    dataset: Literal["sinusoid", "omniglot", "mini_imagenet"]
    """Where tasks come from."""
    data_dir: str | None = None
    """Folder (or .npz file) with the images. Default: data/DATASET; Omniglot is downloaded if it is not there."""
    ways: int = 5
    """N: classes per task, of classification."""
    shots: int = 1
    """K: support examples (of each class)."""
    queries: int = 1
    """Query examples (of each class) in training."""
    evaluation_queries: int = 1
    """Query examples (of each class) at evaluation."""
    network: Literal["dense", "strided", "pooled"]
    """dense: fully connected, with batch norm for images. strided: four convolutions, each of every second pixel.
    pooled: four convolutions, each followed by max-pooling."""
    hidden_sizes: tuple[int, ...] = (40, 40)
    """Units of a dense network's hidden layers."""
    filters: int = 64
    """Of each convolution."""
    compile: bool = True
    """Compile the meta-gradient with torch.compile where there is a C++ compiler and the device is the CPU: a minute or
    two at the first start, then iterations are two to four times as fast. Last bits differ."""
    gradient_clip: float | None = None
    """Adam: largest absolute value of any entry of the meta-gradient; None: no limit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("shots", "queries", "evaluation_queries", "filters"):
            _require_at_least(self, 1, name)
        _require_at_least(self, 2, "ways")
        examples = self.tasks * self.ways * (self.shots + max(self.queries, self.evaluation_queries))
        _require(examples <= MOST, "tasks x ways x (shots + queries)", examples, f"at most {MOST:,}")
        _require_at_least(self, 1, "evaluate_every")  # the best parameters are chosen on validation tasks
        _require_all_positive(self, "hidden_sizes")
        if self.gradient_clip is not None:
            _require_positive(self, "gradient_clip")
        if self.dataset != "sinusoid" and self.method in ("pretrained", "oracle"):
            raise ValueError(
                f"method {self.method!r} makes no sense for {self.dataset}, whose labels mean nothing outside a task: "
                "choose maml or random"
            )
        if self.dataset == "sinusoid" and self.network != "dense":
            raise ValueError(f"network must be dense for sinusoid, whose inputs are no images; got {self.network!r}")
        for name in UNUSED.get(self.dataset, ()) + UNUSED.get(self.network, ()):
            default = next(field.default for field in dataclasses.fields(self) if field.name == name)
            if getattr(self, name) != default:
                raise ValueError(
                    f"{name} means nothing for {self.dataset} with network {self.network}; got {getattr(self, name)}"
                )
        if self.evaluation_steps < self.adaptation_steps:  # best.pt is chosen by the score after those of training
            least = f"at least inner_steps, {self.adaptation_steps}"
            _require(False, "evaluation_steps", self.evaluation_steps, least)

    @property
    def score(self) -> str:
        """The accuracy of a classification, the loss of a regression."""
        return "loss" if self.dataset == "sinusoid" else "accuracy"

    @property
    def learning_curve(self) -> str:
        """The same score over the meta-batch."""
        return f"train/{self.score}"

    @property
    def protocol(self) -> dict[str, Any]:
        """Also the kind of task."""
        return super().protocol | {"ways": self.ways, "shots": self.shots, "queries": self.evaluation_queries}


UNUSED = {  # dataset or network -> fields that must stay as they are
    "sinusoid": ("ways", "data_dir"),
    "dense": ("filters",),
    "strided": ("hidden_sizes",),
    "pooled": ("hidden_sizes",),
}

ADDED = {"curvature_tasks": 1.0}  # fields that earlier versions did not have -> what they did

MOST = 10**8  # timesteps or examples at a time: a terabyte

PROBLEMS: dict[str, type[Config]] = {"reinforcement": RLConfig, "supervised": SupervisedConfig}


def _require(condition: bool, name: str, value: object, right: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {right}; got {value}")


def _require_at_least(config: Config, least: int, name: str) -> None:
    _require(getattr(config, name) >= least, name, getattr(config, name), f"at least {least}")


def _require_positive(config: Config, name: str) -> None:
    _require(0 < getattr(config, name) < math.inf, name, getattr(config, name), "a positive number")


def _require_all_positive(config: Config, name: str) -> None:
    values = getattr(config, name)
    _require(bool(values) and all(0 < value < math.inf for value in values), name, values, "a list of positive numbers")
