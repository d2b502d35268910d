"""The experiments of Finn et al. 2017 and of its authors' release, as named configurations; every field is a flag."""

from metarl.training.config import Config

NAVIGATION = Config(
    preset="navigation",
    environment="metarl/Navigation2D-v0",
    environment_options={"reward": "squared"},
    tasks=20,
    episodes=20,
    inner_step_size=0.1,
    iterations=100,
    curvature_fraction=0.2,  # learns as fast as with all timesteps, at a third of the time: CHANGELOG, 0.1.0
    evaluation_steps=4,
    evaluation_step_sizes=(0.1, 0.05),
    evaluation_episodes=40,
)

NAVIGATION_PAPER = Config(
    preset="navigation-paper",
    environment="metarl/Navigation2D-v0",
    environment_options={"reward": "distance"},
    tasks=20,
    episodes=20,
    inner_step_size=0.5,
    iterations=100,
    evaluation_steps=4,
    evaluation_step_sizes=(0.5, 0.25),
    evaluation_episodes=40,
    evaluation_counting="timesteps",
    evaluation_checkpoint="last",  # the published iterate is the 100th
    published_tasks=True,
)

PRESETS: dict[str, tuple[str, Config]] = {
    "navigation": ("2D navigation as the paper's text has it: squared distance, step size 0.1", NAVIGATION),
    "navigation-paper": (
        "2D navigation as the published run: distance, step size 0.5, 100 iterations",
        NAVIGATION_PAPER,
    ),
}
