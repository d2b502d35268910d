"""What earlier versions wrote, as this one reads it: the one place that knows their names.

Until 0.7 a configuration was one flat object, with the options of parts that were not chosen among those that were.
"""

from typing import Any

CHOICES = ("rule", "outer")  # of every flat configuration
PROBLEM_CHOICES = {"reinforcement": ("inner_loss",), "supervised": ("dataset", "network")}
SUPERVISED = "supervised"
REINFORCEMENT = "reinforcement"

# option of a flat configuration -> the part that has it now: the option that chooses it, and the name of the part
OWNERS: dict[str, tuple[str, str]] = {
    "learning_rate": ("outer", "adam"),
    "gradient_clip": ("outer", "adam"),
    "max_kl": ("outer", "trpo"),
    "curvature": ("outer", "trpo"),
    "curvature_fraction": ("outer", "trpo"),
    "curvature_tasks": ("outer", "trpo"),
    "finite_difference_epsilon": ("outer", "trpo"),
    "cg_iterations": ("outer", "trpo"),
    "cg_damping": ("outer", "trpo"),
    "activation": ("policy", "gaussian"),
    "initial_std": ("policy", "gaussian"),
    "min_std": ("policy", "gaussian"),
    "ways": ("dataset", "omniglot mini_imagenet"),
    "data_dir": ("dataset", "omniglot mini_imagenet"),
    "filters": ("network", "strided pooled"),
}
OF_THE_RUN = (
    *("preset", "method", "seed", "iterations", "device", "tasks", "max_nonfinite", "inner_steps", "first_order"),
    *("evaluation_steps", "evaluation_step_sizes", "evaluation_tasks", "evaluation_checkpoint"),
    *("validation_tasks", "evaluate_every", "render_every", "checkpoint_every", "log_every"),
)
BEFORE_0_6 = {"curvature_tasks": 1.0}  # what flat configurations without the field did
DIFFERENCES = ("forward", "symmetric")  # the kinds of curvature that take an epsilon


def migrated(values: dict[str, Any]) -> dict[str, Any]:
    """A configuration of this version, from one of any version that is known."""
    return values if isinstance(values.get("problem"), dict) else _from_flat(values)


def _from_flat(values: dict[str, Any]) -> dict[str, Any]:
    kind = values.pop("problem", REINFORCEMENT)  # the only one before 0.4
    if kind not in PROBLEM_CHOICES:
        raise ValueError(f"unknown problem {kind!r}: choose one of {', '.join(PROBLEM_CHOICES)}")
    if kind == REINFORCEMENT:
        values = BEFORE_0_6 | values
        parts = _reinforcement_parts(values)
    else:
        parts = {name: {"name": values.pop(name)} for name in PROBLEM_CHOICES[kind] if name in values}
        if "hidden_sizes" in values and parts.get("network", {}).get("name") == "dense":
            parts["network"]["hidden_sizes"] = values["hidden_sizes"]
        values.pop("hidden_sizes", None)
    parts["rule"] = {"name": values.pop("rule", "sgd"), "inner_step_size": values.pop("inner_step_size")}
    parts["outer"] = {"name": values.pop("outer", "trpo" if kind == REINFORCEMENT else "adam")}
    if values.get("curvature") not in DIFFERENCES:
        values.pop("finite_difference_epsilon", None)
    for option, (choice, names) in OWNERS.items():
        if option in values:
            value = values.pop(option)
            if choice in parts and parts[choice]["name"] in names.split():
                parts[choice][option] = value
    of_the_run = {name: values.pop(name) for name in OF_THE_RUN if name in values}
    run = {name: parts.pop(name) for name in CHOICES}
    return {**of_the_run, **run, "problem": {"name": kind, **parts, **values}}


def _reinforcement_parts(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parts of a flat configuration of reinforcement learning, taken out of it."""
    if "environment" not in values:
        raise ValueError("configuration field 'environment' is missing")
    name, given = values.pop("environment"), values.pop("environment_options", {})
    return {
        "environment": {"name": name, **given},
        "policy": {"name": "gaussian", "hidden_sizes": values.pop("hidden_sizes", [100, 100])},
        "inner_loss": {"name": values.pop("inner_loss", "log_prob")},
        "baseline": {"name": "linear"},
    }
