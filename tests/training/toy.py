"""A tiny, fast MAML-RL configuration for the tests of the loop and of the commands."""

import dataclasses

from metarl.experiments.presets import RL_PRESETS

TOY = dataclasses.replace(
    RL_PRESETS["navigation"][1],
    iterations=4,
    tasks=2,
    episodes=3,
    horizon=6,
    hidden_sizes=(8,),
    curvature="forward",
    cg_iterations=2,
    evaluation_tasks=3,
    evaluation_episodes=2,
    evaluation_steps=2,
)
