"""The experiments of Finn et al. 2017 and of its authors' release by name, each a set of options, as flags name them.

A preset is what `train.py PRESET` starts from. What it leaves out has the default of its part.
"""

import dataclasses
from collections.abc import Callable, Sequence

from metarl.experiments.presets.options import METHOD_OPTIONS, PRESETS, Options, Variant, require_preset
from metarl.training.config import Config
from metarl.training.tree import from_flat

__all__ = ["METHOD_OPTIONS", "PRESETS", "preset_config", "variants_of"]


def variants_of(name: str, value_of: Callable[[str], str | None]) -> tuple[Variant, ...]:
    """The variants of a preset that a command line asks for; `value_of` gives its word for an option, or None."""
    require_preset(name)
    return tuple(variant for variant in PRESETS[name].variants if variant.applies(value_of(variant.option)))


def preset_config(
    name: str, method: str = "maml", choices: Options | None = None, variants: Sequence[Variant] = ()
) -> Config:
    """The configuration of a preset, with a method's own settings.

    Args:
        name: a key of PRESETS.
        method: maml, pretrained, oracle or random.
        choices: parts chosen otherwise than in the preset, by name; options of the preset that these lack are left out.
        variants: those of `variants_of`.

    Raises:
        ValueError: an unknown preset, or a choice that cannot be made.
    """
    require_preset(name)
    options = PRESETS[name].options | METHOD_OPTIONS.get((name, method), {})
    for variant in variants:
        options = options | variant.options
    chosen = {"preset": name, "method": method} | options | (choices or {})
    config = from_flat(Config, chosen, surplus=options)
    if choices is None or "policy" in choices:
        return config
    return dataclasses.replace(config, problem=config.problem.fitting())
