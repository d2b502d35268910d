"""The studies of what matters in MAML for reinforcement learning: a screening design, then one factor at a time."""

from metarl.experiments.catalogue.experiment import SEEDS, Experiment, Training
from metarl.experiments.catalogue.study_design import Factor, Settings, Study, fractional_factorial, one_at_a_time

PRESET = "cheetah-dir"
CHECKPOINTS: Settings = {"checkpoint-every": "10"}
# Of every run, before and after adaptation together.
SCREENING_TIMESTEPS = 4_800_000
TIMESTEPS = 1_680_000
HORIZON = 100  # timesteps of an episode


def size(tasks: int, episodes: int, inner_steps: int = 1, timesteps: int = TIMESTEPS) -> Settings:
    """The settings of a meta-batch, with as many iterations as a run's timesteps allow."""
    iterations = timesteps // (tasks * episodes * HORIZON * (inner_steps + 1))
    return {"tasks": str(tasks), "episodes": str(episodes), "iterations": str(iterations)}


SCREENED = (
    Factor(
        "credit horizon",
        {
            "discount 0.99, lambda 1": {"discount": "0.99", "gae-lambda": "1.0"},
            "discount 0.95, lambda 0.95": {"discount": "0.95", "gae-lambda": "0.95"},
        },
    ),
    Factor("observations", {"raw": {"observation": "raw"}, "compact": {"observation": "compact"}}),
    Factor(
        "network",
        {
            "100-100 ReLU": {"hidden-sizes": "100 100", "activation": "relu"},
            "64-64 tanh": {"hidden-sizes": "64 64", "activation": "tanh"},
        },
    ),
    Factor("initial std", {"1.0": {"initial-std": "1.0"}, "0.5": {"initial-std": "0.5"}}),
    Factor("max KL", {"0.01": {"max-kl": "0.01"}, "0.03": {"max-kl": "0.03"}}),
    Factor("inner step size", {"0.05": {"inner-step-size": "0.05"}, "0.15": {"inner-step-size": "0.15"}}),
    Factor(
        "meta-batch",
        {
            "40 x 20, 30 iterations": size(40, 20, timesteps=SCREENING_TIMESTEPS),
            "20 x 20, 60 iterations": size(20, 20, timesteps=SCREENING_TIMESTEPS),
        },
    ),
    Factor(
        "inner loss",
        {
            "log-probability": {"inner-loss": "log_prob"},
            "likelihood ratio": {"inner-loss": "likelihood_ratio"},
        },
    ),
)

# E = B + C + D, F = A + C + D, G = A + B + C, H = A + B + D, modulo 2: resolution IV.
GENERATORS = (
    lambda a, b, c, d: (b + c + d) % 2,
    lambda a, b, c, d: (a + c + d) % 2,
    lambda a, b, c, d: (a + b + c) % 2,
    lambda a, b, c, d: (a + b + d) % 2,
)

# The first level of each factor is the base, the preset's own settings.
VARIED = (
    Factor(
        "outer optimiser",
        {
            "PPO, 10 epochs of 5 minibatches, target KL 0.02": {},
            "target KL 0.01": {"target-kl": "0.01"},
            "target KL 0.05": {"target-kl": "0.05"},
            "1 minibatch": {"minibatches": "1"},
            "1 epoch": {"epochs": "1"},
            "TRPO, max KL 0.05": {"outer": "trpo", "max-kl": "0.05"},
        },
    ),
    Factor(
        "what adapts",
        {
            "all parameters": {},
            "biases": {"not-adapted": "*.shift *.weight log_std", "inner-step-size": "1.0"},
            "last layer (ANIL)": {"rule": "anil"},
            "a context of 8 (CAVIA, as the preset has it)": {"rule": "cavia", "inner-step-size": "2.0"},
        },
    ),
    Factor(
        "credit horizon of inner steps",
        {
            "as the outer step's": {},
            "discount 0.9, lambda 0.9": {"inner-discount": "0.9", "inner-gae-lambda": "0.9"},
        },
    ),
    Factor("initial std", {value: {"initial-std": value} for value in ("0.3", "0.2", "0.5", "1.0")}),
    Factor("head's initial scale", {value: {"head-scale": value} for value in ("0.01", "1.0")}),
    Factor("inner step size", {value: {"inner-step-size": value} for value in ("0.08", "0.04", "0.15")}),
    Factor("inner steps", {str(steps): {"inner-steps": str(steps), **size(10, 20, steps)} for steps in (1, 2)}),
    Factor(
        "inner loss",
        {
            "log-probability": {"inner-loss": "log_prob"},
            "likelihood ratio": {"inner-loss": "likelihood_ratio"},
        },
    ),
    Factor(
        "credit horizon",
        {
            f"discount {discount}, lambda {lam}": {"discount": discount, "gae-lambda": lam}
            for discount, lam in (("0.97", "0.97"), ("0.95", "0.95"), ("0.99", "1.0"))
        },
    ),
    Factor("observations", {value: {"observation": value} for value in ("compact", "raw")}),
    Factor(
        "network",
        {
            "64-64 tanh": {"hidden-sizes": "64 64", "activation": "tanh"},
            "100-100 ReLU": {"hidden-sizes": "100 100", "activation": "relu"},
        },
    ),
    Factor(
        "baseline",
        {"linear in features": {}, "mean over episodes": {"baseline": "time_mean"}, "none": {"baseline": "zero"}},
    ),
    Factor(
        "tasks by episodes",
        {
            "10 x 20": size(10, 20),
            "4 x 10": {"minibatches": "4", **size(4, 10)},
            "4 x 20": {"minibatches": "4", **size(4, 20)},
            "20 x 10": size(20, 10),
            "20 x 20": size(20, 20),
        },
    ),
)


def _experiment(study: Study, others: Settings) -> Experiment:
    runs = (Training(cell.name, PRESET, study.flags(cell, others)) for cell in study.cells)
    return Experiment(tuple(runs), study=study)


STUDIES: dict[str, Experiment] = {
    "what-matters": _experiment(
        fractional_factorial(SCREENED, GENERATORS, SEEDS, "screen"),
        {"outer": "trpo", "head-scale": "1.0", "min-std": "1e-6", **CHECKPOINTS},
    ),
    "one-at-a-time": _experiment(one_at_a_time(VARIED, SEEDS), CHECKPOINTS),
}
