"""A tiny, fast MAML-RL configuration for the tests of the loop and of the commands."""

from metarl.experiments.presets.configuration import preset_config
from metarl.training.tree import with_options

TOY = with_options(
    preset_config("navigation"),
    {
        "iterations": 4,
        "tasks": 2,
        "episodes": 3,
        "horizon": 6,
        "hidden_sizes": (8,),
        "curvature": "forward",
        "cg_iterations": 2,
        "evaluation_tasks": 3,
        "evaluation_episodes": 2,
        "evaluation_steps": 2,
    },
)
