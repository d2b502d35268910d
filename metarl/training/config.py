"""The configuration of a run: a tree of parts, whose options are the flags of the command line (`flags.py`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from metarl.arguments import SECONDS, require_built
from metarl.engine.outer import OUTERS, Outer
from metarl.engine.rules import RULES, InnerRule, Rule, first_order
from metarl.engine.rules.sgd import SGD
from metarl.parts import HIDDEN, MAY_CHANGE, POSITIVE, Part, at_least, below, options
from metarl.problems import PROBLEMS, WITHOUT_INNER_STEPS, Method, ProblemOptions, Setting
from metarl.shard import ALONE, Shard
from metarl.training import tree
from metarl.training.interruption import GRACE
from metarl.training.loop import MAX_NONFINITE
from metarl.training.migration import from_flat_configuration, is_flat, with_present_names


@dataclass(frozen=True, kw_only=True)
class Training(Part):
    """What is trained, and for how long."""

    preset: Annotated[str, HIDDEN]
    """Name of the preset that this configuration started from."""
    method: Method = "maml"
    """maml: meta-train. pretrained: train one model on all tasks, without adaptation. oracle: as pretrained, but the
    model is given the task. random: fresh weights, no training. All but oracle are adapted at evaluation."""
    seed: Annotated[int, at_least(0), below(2**32, "2^32")] = 1
    """Key of everything random: initial weights, tasks, data."""
    iterations: Annotated[int, at_least(0), MAY_CHANGE] = 500
    """Meta-iterations (outer steps)."""
    tasks: Annotated[int, at_least(1)] = 40
    """Tasks per meta-batch."""
    device: Annotated[str, MAY_CHANGE] = "cpu"
    """Torch device of parameters and batches, such as cpu or cuda."""
    grace: Annotated[float, SECONDS, MAY_CHANGE] = GRACE
    """Seconds that an iteration may go on after SIGTERM or Ctrl-C."""
    max_nonfinite: Annotated[int, at_least(1), MAY_CHANGE] = MAX_NONFINITE
    """Stop after this many outer steps in a row that were refused because something was not finite."""


@dataclass(frozen=True, kw_only=True)
class Adaptation(Part):
    """The inner loop."""

    inner_steps: Annotated[int, at_least(0)] = 1
    """Gradient steps per task during meta-training; 0 trains without adaptation."""
    first_order: bool = False
    """First-order MAML: treat the inner gradient as a constant."""


@dataclass(frozen=True, kw_only=True)
class HeldOut(Part):
    """The evaluation after training, on tasks that training never sees."""

    listed_last: ClassVar[bool] = True  # in `--help`: what one needs first is what is trained, and how

    evaluation_steps: Annotated[int, at_least(0), MAY_CHANGE] = 3
    """Gradient steps at evaluation."""
    evaluation_step_sizes: Annotated[tuple[float, ...], POSITIVE, MAY_CHANGE] = ()
    """Step size of each gradient step at evaluation; the last one repeats. Without any: the step size of training."""
    evaluation_tasks: Annotated[int, at_least(1), MAY_CHANGE] = 40
    """Held-out tasks at evaluation."""
    evaluation_checkpoint: Annotated[Literal["best", "last"], MAY_CHANGE] = "best"
    """Which parameters to evaluate: the best by training return after adaptation (reinforcement learning) or on the
    validation tasks (supervised), or the last."""


@dataclass(frozen=True, kw_only=True)
class Watching(Part):
    """What is written and measured during training."""

    listed_last: ClassVar[bool] = True

    validation_tasks: Annotated[int, at_least(1), MAY_CHANGE] = 40
    """Tasks that are scored during training; neither trained on nor evaluated on."""
    evaluate_every: Annotated[int, at_least(0), MAY_CHANGE] = 0
    """Iterations between scores of the validation tasks, which are also scored at the end; 0: never."""
    render_every: Annotated[int, at_least(0), MAY_CHANGE] = 0
    """Iterations between pictures in TensorBoard, of the first validation task before and after adaptation; 0: none."""
    checkpoint_every: Annotated[int, at_least(1), MAY_CHANGE] = 1
    """Iterations between checkpoints."""
    keep_every: Annotated[int, at_least(0), MAY_CHANGE] = 0
    """Iterations between checkpoints that are kept for good, as checkpoint-NUMBER.pt; 0: none."""
    log_every: Annotated[int, at_least(1), MAY_CHANGE] = 1
    """Iterations between logged training metrics; those of a refused outer step are always logged."""


@dataclass(frozen=True, kw_only=True)
class Config(Watching, HeldOut, Adaptation, Training):
    """The parts that a run is made of."""

    problem: Annotated[ProblemOptions, PROBLEMS, HIDDEN]
    """The kind of problem."""
    rule: Annotated[Rule, RULES] = SGD()
    """Inner rule: what a gradient step does to the parameters of a task."""
    outer: Annotated[Outer, OUTERS]
    """Outer optimiser: how the meta-parameters move."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.problem.require_sensible(self.setting())
        if self.outer_steps:
            self.outer.require_tasks(self.tasks)

    def require_learned(self) -> None:
        """Raise ValueError for a rule of which a part would never be learned."""
        if not self.outer.differentiates and self.rule.needs_gradient:
            raise ValueError(
                f"outer {OUTERS.name_of(self.outer)} moves only what inner steps move, so that rule "
                f"{RULES.name_of(self.rule)} would stay as it began: choose rule sgd, or outer adam"
            )

    @property
    def experiment(self) -> str:
        """The preset without `-paper`: runs of one experiment are compared with each other."""
        return self.preset.removesuffix("-paper")

    @property
    def outer_steps(self) -> int:
        """Outer steps that the method takes: none for random."""
        return 0 if self.method == "random" else self.iterations

    @property
    def adaptation_steps(self) -> int:
        """Inner steps that the method trains with: 0 for pretrained and oracle."""
        return 0 if self.method in WITHOUT_INNER_STEPS else self.inner_steps

    @property
    def knows_the_task(self) -> bool:
        """Whether the model is given the task: an oracle is not adapted."""
        return self.method == "oracle"

    @property
    def without_effect(self) -> dict[str, str]:
        """The options that mean nothing beside what else was chosen, and why; they are refused if they are given."""
        found: dict[str, str] = {}
        why = f"method {self.method}, which trains without inner steps"
        if self.method in WITHOUT_INNER_STEPS:
            found |= dict.fromkeys(("inner_steps", "first_order"), why)
        # Pretrained is adapted at evaluation, oracle is not.
        if self.knows_the_task:
            of_steps = ("rule", "inner_loss", "inner_discount", "inner_gae_lambda")
            own = (*of_steps, "evaluation_steps", "evaluation_step_sizes", *tree.flat(self.rule))
            found |= dict.fromkeys(own, why)
        if self.method == "maml":
            if not self.inner_steps:
                found["first_order"] = "inner_steps 0, which trains without inner steps"
            if not self.outer.differentiates:
                chosen = getattr(self.problem, "outer_loss", None)
                own = () if chosen is None else tuple(tree.flat(chosen))
                why = f"outer {OUTERS.name_of(self.outer)}, which differentiates no outer loss"
                found |= dict.fromkeys(("first_order", "outer_loss", *own), why)
        if self.rule.learns_step_sizes:
            found.setdefault(
                "evaluation_step_sizes", f"rule {RULES.name_of(self.rule)}, which learns its own step sizes"
            )
        return found

    @property
    def idle(self) -> frozenset[str]:
        """Names of the options that the method does not use because it does not train; they may be given."""
        if self.method != "random":
            return frozenset()
        watching = {option.name for option in options(Watching)}
        return frozenset({"outer", *tree.flat(self.outer), "iterations", "grace", "max_nonfinite", *watching})

    @property
    def test_steps(self) -> int:
        """Gradient steps at evaluation: none for the oracle, which knows the task."""
        return 0 if self.knows_the_task else self.evaluation_steps

    @property
    def test_step_sizes(self) -> tuple[float, ...]:
        """Step sizes at evaluation: the given ones, or that of training; none if the rule has no step size."""
        own = tree.flat(self.rule).get("inner_step_size")
        return self.evaluation_step_sizes or (() if own is None else (own,))

    @property
    def training_rule(self) -> InnerRule:
        """The inner rule of the meta-gradient's inner steps."""
        rule = self._built_rule(())
        return first_order(rule) if self.first_order else rule

    @property
    def test_rule(self) -> InnerRule:
        """The inner rule with the step sizes of the evaluation."""
        return self._built_rule(self.evaluation_step_sizes)

    def _built_rule(self, step_sizes: Sequence[float]) -> InnerRule:
        rule = self.rule.build(step_sizes)
        require_built(**{f"what rule {RULES.name_of(self.rule)} builds": (rule, InnerRule)})
        return rule

    @property
    def protocol(self) -> dict[str, Any]:
        """How an evaluation is made. Scores are comparable only where these values are equal."""
        return {
            "tasks": self.evaluation_tasks,
            "step_sizes": list(self.test_step_sizes),
            **self.problem.protocol,
        }

    def setting(self, shard: Shard = ALONE) -> Setting:
        """What the problem is told of this run."""
        return Setting(
            preset=self.preset,
            method=self.method,
            knows_the_task=self.knows_the_task,
            seed=self.seed,
            device=self.device,
            tasks=self.tasks,
            rule=self.training_rule,
            inner_steps=self.adaptation_steps,
            log_every=self.log_every,
            evaluate_every=self.evaluate_every,
            evaluation_steps=self.evaluation_steps,
            evaluation_tasks=self.evaluation_tasks,
            validation_tasks=self.validation_tasks,
            shard=shard,
        )

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values for JSON."""
        return tree.to_dict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Config":
        """The inverse of `to_dict`, which also reads what earlier versions wrote.

        Raises:
            ValueError: an option is unknown or missing, or a value is impossible.
        """
        if is_flat(values):
            return from_flat_configuration(Config, values)
        return tree.from_dict(Config, with_present_names(values))
