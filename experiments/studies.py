"""The studies of what matters in MAML for reinforcement learning: a screening design, then one factor at a time."""

from metarl.experiments.design import Factor, Settings, Study, fractional_factorial, one_at_a_time
from metarl.experiments.experiment import SEEDS, Experiment, Training

PRESET = "cheetah-dir"
TIMESTEPS = 4_800_000  # of every run, before and after adaptation together
HORIZON = 100  # timesteps of an episode

# Settings with which `cheetah-dir` is known to learn.
LEARNS: Settings = {
    "discount": "0.95",
    "gae-lambda": "0.95",
    "max-kl": "0.02",
    "observation": "compact",
    "hidden-sizes": "64 64",
    "activation": "tanh",
}


def size(tasks: int, episodes: int, inner_steps: int = 1) -> Settings:
    """The settings of a meta-batch, with as many iterations as `TIMESTEPS` allow."""
    iterations = TIMESTEPS // (tasks * episodes * HORIZON * (inner_steps + 1))
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
    Factor("meta-batch", {"40 x 20, 30 iterations": size(40, 20), "20 x 20, 60 iterations": size(20, 20)}),
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

# The first level of each factor is the base.
VARIED = (
    Factor("inner steps", {str(steps): {"inner-steps": str(steps), **size(40, 20, steps)} for steps in (1, 2, 3)}),
    Factor("lambda", {value: {"gae-lambda": value} for value in ("0.95", "0.9", "1.0")}),
    Factor("observations", {value: {"observation": value} for value in ("compact", "raw")}),
    Factor(
        "curvature",
        {
            "on parts": {"curvature-fraction": "0.1", "curvature-tasks": "0.5"},
            "on all": {"curvature-fraction": "1.0", "curvature-tasks": "1.0"},
        },
    ),
    Factor("discount", {value: {"discount": value} for value in ("0.95", "0.9", "0.97", "0.99")}),
    Factor("max KL", {value: {"max-kl": value} for value in ("0.02", "0.01", "0.03", "0.05")}),
    Factor("initial std", {value: {"initial-std": value} for value in ("0.5", "0.2", "0.3", "1.0")}),
    Factor(
        "tasks by episodes",
        {
            f"{tasks} x {episodes}": size(tasks, episodes)
            for tasks, episodes in ((40, 20), (10, 20), (20, 20), (20, 40))
        },
    ),
)


def _experiment(study: Study, others: Settings) -> Experiment:
    runs = (Training(cell.name, PRESET, study.flags(cell, others)) for cell in study.cells)
    return Experiment(tuple(runs), study=study)


STUDIES: dict[str, Experiment] = {
    "what-matters": _experiment(
        fractional_factorial(SCREENED, GENERATORS, SEEDS, "screen"), {"checkpoint-every": "10"}
    ),
    "one-at-a-time": _experiment(
        one_at_a_time(VARIED, SEEDS), {**LEARNS, "inner-step-size": "0.1", "checkpoint-every": "10"}
    ),
}
