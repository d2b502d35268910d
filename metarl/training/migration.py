"""What earlier versions wrote, as this one reads it: the one place that knows their names."""

from collections.abc import Mapping
from typing import Any

from metarl.training.tree import from_flat

BEFORE_0_4 = {"problem": "reinforcement"}  # fields that came later, with what was done before
BEFORE_0_6 = {"curvature_tasks": 1.0}
NEVER_WRITTEN = {"reinforcement": {"outer": "trpo"} | BEFORE_0_6, "supervised": {"outer": "adam"}}

# Fields of a flat configuration that meant nothing unless their part was chosen.
WITHOUT_EFFECT = frozenset(
    (
        *("learning_rate", "gradient_clip", "max_kl", "curvature", "curvature_fraction", "curvature_tasks"),
        *("finite_difference_epsilon", "cg_iterations", "cg_damping", "ways", "data_dir", "filters", "hidden_sizes"),
    )
)


def is_flat(values: Mapping[str, Any]) -> bool:
    """Whether a configuration is one flat object, as all were before 0.8."""
    return not isinstance(values.get("problem"), dict)


def from_flat_configuration(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """A tree of `kind` from a flat configuration, which held the options of all parts, chosen or not.

    Raises:
        ValueError: a field that no version had, an unknown problem, or an impossible value.
    """
    flat = BEFORE_0_4 | dict(values)
    if flat["problem"] not in NEVER_WRITTEN:
        raise ValueError(f"unknown problem {flat['problem']!r}: choose one of {', '.join(NEVER_WRITTEN)}")
    flat |= flat.pop("environment_options", {})
    return from_flat(kind, NEVER_WRITTEN[flat["problem"]] | flat, surplus=WITHOUT_EFFECT)
