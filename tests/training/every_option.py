"""Every option of every part, with a run of no size in which it matters, and other values of it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_origin

import numpy as np
from PIL import Image

from metarl.experiments.presets.configuration import preset_config
from metarl.parts import HIDDEN, Option
from metarl.training.config import Config
from metarl.training.tree import flat, leaves, registries, with_options

SMALL = {
    "iterations": 2, "tasks": 2, "hidden_sizes": (4,), "evaluation_steps": 1, "evaluation_tasks": 2,
    "validation_tasks": 2, "log_every": 1, "checkpoint_every": 1, "render_every": 0,
}  # fmt: skip
# A step of Adam's takes half of the time of TRPO's.
REINFORCEMENT = with_options(
    preset_config("navigation"),
    SMALL | {"episodes": 2, "horizon": 4, "evaluation_episodes": 2, "outer": "adam"},
)
CLASSIFICATION = with_options(
    preset_config("omniglot-5way-1shot", choices={"dataset": "glyphs", "network": "dense"}),
    SMALL | {"ways": 2, "queries": 2, "evaluation_queries": 2, "compile": False, "evaluate_every": 2},
)

# Values of an option in whose place others are tried, where half, or one more, or another name, would say nothing.
OTHERS: dict[str, tuple[Any, ...]] = {
    "activation": ("tanh",),
    "adam_beta1": (0.1,),
    "adam_beta2": (0.1,),
    "adam_epsilon": (1.0,),
    "adapted": (("log_std",),),
    "cache_dir": ("elsewhere",),
    "cg_damping": (1.0,),
    "checkpoint_every": (3,),
    "cg_tolerance": (1e9,),
    "clip": (0.01,),
    "observation_clip": (0.01,),
    "context_layer": ("head",),
    "curvature_fraction": (1.0,),
    "curvature_tasks": (1.0,),
    "data_dir": ("nowhere",),
    "device": ("tpu",),
    "evaluation_step_sizes": ((0.7,),),
    "finite_difference_epsilon": (0.5,),
    "gradient_clip": (1e-9,),
    "inner_discount": (0.1,),
    "inner_gae_lambda": (0.1,),
    "grace": (0.05,),
    "kl_target": (1e-6,),
    "target_kl": (1e-9,),
    "learned_steps": (1,),
    "least_images": (4,),
    "max_backtracks": (1,),
    "max_broken": (0.0,),
    "max_nonfinite": (1,),
    "memory": (1,),
    "min_std": (1.0,),
    "not_adapted": (("*weight",),),
    "per_step": (("log_std",),),
    "ridge": (10.0,),
    "split_shares": ((0.34, 0.33, 0.33),),
    "threads": (3,),
}
# What must hold of the run for an option to matter, beside the part whose it is.
WHERE: dict[str, dict[str, Any]] = {
    "adam_epsilon": {"outer": "adam"},
    "annealing_iterations": {"annealing_iterations": 2},
    "backtrack_ratio": {"max_kl": 50.0, "max_backtracks": 40},
    "categorical_mlp": {"environment": "places:Switches", "outer": "adam"},
    "cosine": {"schedule_steps": 2},
    "finite_difference_epsilon": {"curvature": "symmetric"},
    "goal_radius": {"goal_radius": 1.5},
    "metarl/HopperParams-v0": {"horizon": 80, "initial_std": 1.0},  # until it falls
    "lslr": {"inner_steps": 2, "learned_steps": 2, "evaluation_steps": 2},
    "max_backtracks": {"max_kl": 50.0, "max_backtracks": 40},
    "max_broken": {"environment": "places:Fragile", "max_broken": 1.0, "episodes": 4},
    "max_nonfinite": {"outer": "adam", "learning_rate": 1e38},
    "multi_step": {"inner_steps": 2, "evaluation_steps": 2},
    "outer_loss": {"inner_steps": 2, "evaluation_steps": 2},
    "per_step": {"not_adapted": ("log_std",)},
    "validation_tasks": {"evaluate_every": 1},
}


class Case(NamedTuple):
    """An option of a part."""

    part: str  # in words, such as `outer trpo`
    option: Option
    config: Config  # in which it matters

    @property
    def name(self) -> str:
        return f"{self.part}-{self.option.name}" if self.part else self.option.name

    @property
    def value(self) -> Any:
        return flat(self.config)[self.option.name]

    def others(self) -> list[Config]:
        """The same run with other values of the option; of choices those that can be made."""
        found = []
        for value in other_values(self.option, self.value):
            try:
                found.append(with_options(self.config, {self.option.name: value}))
            except ValueError:
                assert self.option.registry is not None, f"{self.name} cannot be {value}"
        assert found, f"{self.name}: write another value of it into OTHERS"
        return found


def other_values(option: Option, value: Any) -> tuple[Any, ...]:
    """Other values: all other parts and words, twice or half or one more of a number; or those in OTHERS.

    Raises:
        LookupError: there is no way to tell.
    """
    if option.registry is not None:
        return tuple(name for name in option.registry.names if name != value and ":" not in name)
    if option.name in OTHERS:
        return OTHERS[option.name]
    if get_origin(option.hint) is Literal:
        return tuple(word for word in option.hint.__args__ if word != value)
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1,)
        case float() if math.isfinite(value) and value != 0:
            return (value / 2,)
        case tuple() if value and all(type(one) in (int, float) for one in value):
            return ((*value[:-1], value[-1] + 1),)
    raise LookupError(f"what else may {option.name} be than {value!r}? Write it into OTHERS of every_option.py")


def every_case() -> Iterator[Case]:
    """The options of the two kinds of problem, then those of each part that can take a place in them."""
    seen = set()
    for start in (REINFORCEMENT, CLASSIFICATION):
        trees = [start]
        for name, registry in registries(start).items():
            parts = [part for part in registry.names if name != "problem" and ":" not in part]
            trees += [with_options(start, WHERE.get(part, {}) | {name: part} | small_of(part)) for part in parts]
        for tree in trees:
            for leaf in leaves(tree):
                key = (leaf.title, leaf.option.name)
                if key in seen or HIDDEN in leaf.option.markers:
                    continue
                seen.add(key)
                conditions = WHERE.get(leaf.option.name, {})
                yield Case(leaf.title, leaf.option, with_options(tree, conditions) if conditions else tree)


def small_of(part: str) -> dict[str, Any]:
    """Sizes of a part that would be slow as it is."""
    if part in ("omniglot", "mini_imagenet", "image_folder"):
        return {"data_dir": part, "ways": 2} | ({"image_size": 6} if part == "image_folder" else {})
    if part in ("pooled", "strided"):
        return {"filters": 2}
    if part == "trpo":
        return {"cg_iterations": 2}
    return {"hidden_sizes": (4,)} if part in ("dense", "gaussian_mlp", "categorical_mlp") else {}


def write_images(place: Path) -> None:
    """Small data of every dataset that is read from a disk, in folders of the datasets' names."""
    rng = np.random.default_rng(0)
    names = {
        "omniglot": [f"Alphabet{a}/character0{c}" for a in range(3) for c in range(3)],
        "image_folder": [f"class{c}" for c in range(12)],
        "mini_imagenet": [f"{split}/{split}{c}" for split in ("train", "val", "test") for c in range(3)],
    }
    for dataset, folders in names.items():
        for number, folder in enumerate(folders):
            (place / dataset / folder).mkdir(parents=True)
            count = 20 if dataset == "omniglot" else 3 + number % 2
            for image in range(count):
                mode = "1" if dataset == "omniglot" else "RGB"
                pixels = rng.integers(0, 256, (105, 105) if mode == "1" else (9, 9, 3), dtype=np.uint8)
                drawn = Image.fromarray(pixels > 40 if mode == "1" else pixels)
                drawn.save(place / dataset / folder / f"{number + 1:04d}_{image + 1:02d}.png")
