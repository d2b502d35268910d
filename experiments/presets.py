"""The experiments of Finn et al. 2017 and of its authors' release, as named configurations; every field is a flag."""

import dataclasses

import tyro

from metarl.training.config import Config

# The authors' outer step. The defaults learn as fast (README, "The outer step"), in a fraction of the time.
OUTER_STEP_PAPER = {"curvature": "symmetric", "curvature_fraction": 1.0, "cg_iterations": 10}

NAVIGATION = Config(
    preset="navigation",
    environment="metarl/Navigation2D-v0",
    environment_options={"reward": "squared"},
    tasks=20,
    episodes=20,
    inner_step_size=0.1,
    iterations=100,
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
    **OUTER_STEP_PAPER,
)

CHEETAH_VEL = Config(
    preset="cheetah-vel",
    environment="metarl/HalfCheetahVel-v0",
    environment_options={"dynamics": "gymnasium", "observation": "raw"},
    initial_std=0.5,
)

CHEETAH_DIR = dataclasses.replace(CHEETAH_VEL, preset="cheetah-dir", environment="metarl/HalfCheetahDir-v0")

ANT_VEL = dataclasses.replace(
    CHEETAH_VEL,
    preset="ant-vel",
    environment="metarl/AntVel-v0",
    environment_options={"dynamics": "gymnasium", "observation": "compact"},
    hidden_sizes=(64, 64),
    activation="tanh",
    initial_std=0.3,
    max_kl=0.02,  # observation, network, std and this: ants that learn, see CHANGELOG, 0.2.0
)

ANT_DIR = dataclasses.replace(ANT_VEL, preset="ant-dir", environment="metarl/AntDir-v0")

ANT_GOAL = dataclasses.replace(ANT_VEL, preset="ant-goal", environment="metarl/AntGoal-v0")

CHEETAH_VEL_PAPER = Config(
    preset="cheetah-vel-paper",
    environment="metarl/HalfCheetahVel-v0",
    environment_options={"dynamics": "paper", "observation": "raw"},
    horizon=200,
    tasks=40,
    episodes=10,
    inner_step_size=0.1,
    iterations=475,
    evaluation_step_sizes=(0.1, 0.05),
    evaluation_counting="timesteps",
    evaluation_checkpoint="last",  # the published iterate is the 475th
    published_tasks=True,
    **OUTER_STEP_PAPER,
)

CHEETAH_DIR_PAPER = dataclasses.replace(
    CHEETAH_VEL_PAPER,
    preset="cheetah-dir-paper",
    environment="metarl/HalfCheetahDir-v0",
    episodes=20,
    iterations=100,
    max_kl=0.02,
)

ANT_VEL_PAPER = dataclasses.replace(
    CHEETAH_VEL_PAPER,
    preset="ant-vel-paper",
    environment="metarl/AntVel-v0",
    episodes=20,
    iterations=375,
)

ANT_DIR_PAPER = dataclasses.replace(
    ANT_VEL_PAPER,
    preset="ant-dir-paper",
    environment="metarl/AntDir-v0",
    episodes=40,
    iterations=575,
    evaluation_step_sizes=(0.1, 0.001),
    evaluation_episodes=40,
)

ANT_GOAL_PAPER = dataclasses.replace(  # there is no published run: the settings are the script's
    ANT_VEL_PAPER,
    preset="ant-goal-paper",
    environment="metarl/AntGoal-v0",
    iterations=500,
    published_tasks=False,
)

CUSTOM = Config(preset="custom", environment=tyro.MISSING, environment_options={})

PRESETS: dict[str, tuple[str, Config]] = {
    "navigation": ("2D navigation as the paper's text has it: squared distance, step size 0.1", NAVIGATION),
    "navigation-paper": (
        "2D navigation as the published run: distance, step size 0.5, 100 iterations",
        NAVIGATION_PAPER,
    ),
    "cheetah-vel": ("half-cheetah, goal velocity, Gymnasium's dynamics", CHEETAH_VEL),
    "cheetah-dir": ("half-cheetah, goal direction, Gymnasium's dynamics", CHEETAH_DIR),
    "ant-vel": ("ant, goal velocity, Gymnasium's dynamics, compact observations", ANT_VEL),
    "ant-dir": ("ant, goal direction, Gymnasium's dynamics, compact observations", ANT_DIR),
    "ant-goal": ("ant, goal position, Gymnasium's dynamics, compact observations", ANT_GOAL),
    "cheetah-vel-paper": ("half-cheetah, goal velocity, as the published run: 475 iterations", CHEETAH_VEL_PAPER),
    "cheetah-dir-paper": ("half-cheetah, goal direction, as the published run: 100 iterations", CHEETAH_DIR_PAPER),
    "ant-vel-paper": ("ant, goal velocity, as the published run: 375 iterations", ANT_VEL_PAPER),
    "ant-dir-paper": ("ant, goal direction, as the published run: 575 iterations", ANT_DIR_PAPER),
    "ant-goal-paper": ("ant, goal position, as the authors' script: 500 iterations", ANT_GOAL_PAPER),
    "custom": ("any environment, yours too: name it with --environment [MODULE:]ID", CUSTOM),
}
