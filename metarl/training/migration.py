"""Reading of what earlier versions wrote: the one place that knows their names."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from metarl.parts import Registry, options
from metarl.training.tree import from_flat

# Fields that a later version added, with the value that stands for what earlier versions did.
BEFORE_0_4 = {"problem": "reinforcement"}
BEFORE_0_6 = {"curvature_tasks": 1.0}
NEVER_WRITTEN = {"reinforcement": {"outer": "trpo"} | BEFORE_0_6, "supervised": {"outer": "adam"}}

DIFFERENCES = ("symmetric", "forward")  # curvatures that take an epsilon

# Fields of a flat configuration that had no effect unless their part was chosen.
WITHOUT_EFFECT = frozenset(
    (
        *("learning_rate", "gradient_clip", "max_kl", "curvature", "curvature_fraction", "curvature_tasks"),
        *("finite_difference_epsilon", "cg_iterations", "cg_damping", "ways", "data_dir", "filters", "hidden_sizes"),
    )
)


# Options that a later version renamed: (choice, name of the part) -> name of the option then -> its name now.
RENAMED = {("normalization", "running"): {"clip": "observation_clip"}}


def with_present_names(values: Any, choice: str = "") -> Any:
    """The values of a stored tree, or of the part of a choice in it, with the present names of options."""
    if not isinstance(values, dict):
        return values
    names = RENAMED.get((choice, str(values.get("name"))), {})
    return {names.get(name, name): with_present_names(value, name) for name, value in values.items()}


def present_metric(name: str) -> str:
    """The present name of a metric: scores of validation tasks were `evaluation/NAME_step{k}` before 0.13."""
    # Metrics of other forms are of a user's own callbacks.
    return re.sub(r"^evaluation/(?=\w+_step\d+$)", "validation/", name)


def is_flat(values: Mapping[str, Any]) -> bool:
    """Whether a configuration is one flat object, as all configurations were before 0.8."""
    return not isinstance(values.get("problem"), dict)


def from_flat_configuration(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a tree of `kind` of a flat configuration, which has the options of all parts, chosen or not.

    Raises:
        ValueError: a field that no version had, an unknown problem, or an impossible value.
    """
    flat: dict[str, Any] = BEFORE_0_4 | dict(values)
    if not isinstance(flat["problem"], str) or flat["problem"] not in NEVER_WRITTEN:
        raise ValueError(f"unknown problem {flat['problem']!r}: choose one of {', '.join(NEVER_WRITTEN)}")
    given: dict[str, Any] = flat.pop("environment_options", {})
    problem = _choices(kind)["problem"].find(flat["problem"])
    environments = _choices(problem).get("environment")
    if environments is not None and "environment" in flat:
        own = {option.name for option in options(environments.find(flat["environment"]))}
        flat.update({"environment_options": given} if "environment_options" in own else given)
    if flat.get("curvature") not in DIFFERENCES:
        flat.pop("finite_difference_epsilon", None)
    if flat.get("data_dir") is None:
        flat.pop("data_dir", None)
    return from_flat(kind, NEVER_WRITTEN[flat["problem"]] | flat, surplus=WITHOUT_EFFECT)


def _choices(kind: type[Any]) -> dict[str, Registry[Any]]:
    """The registries that a part chooses from, by the names of the choices."""
    return {option.name: option.registry for option in options(kind) if option.registry is not None}


# Format 1 called a parameter weight0, bias0 and so on, or weight and bias where it belonged to the last layer of a
# network for images. `slow/` stood before what no inner step changed, `slow/step_size/` before Meta-SGD's step sizes.
NAME_1 = re.compile(r"(?:slow/)?(?P<step>step_size/)?(?P<kind>weight|bias|shift)(?P<layer>\d*)")


def dotted_names(names: Iterable[str]) -> dict[str, str]:
    """The name in format 1 of each parameter of a network -> its present name, in the same order.

    All names of the network must be given: if every layer has a number, the highest number is the head.
    """
    found = {name: NAME_1.fullmatch(name) for name in names}
    layers = {match["layer"] for match in found.values() if match}
    head = "" if "" in layers else max(layers, key=int, default="")

    def now(name: str, match: re.Match[str] | None) -> str:
        if match is None:
            return name.replace("slow/step_size/", "step_size.")
        layer = "head" if match["layer"] == head else f"body.{match['layer']}"
        return f"{'step_size.' if match['step'] else ''}{layer}.{match['kind']}"

    return {name: now(name, match) for name, match in found.items()}


def format_2(content: dict[str, Any]) -> dict[str, Any]:
    """Make the content of a checkpoint of format 2 of one of format 1: parameters get dotted names.

    Their order stays, because Adam's state is one vector of all parameters in that order.
    """
    names = dotted_names(content["theta"])
    return content | {"theta": {names[name]: leaf for name, leaf in content["theta"].items()}}
