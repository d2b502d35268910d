"""The experiments of Finn et al. 2017 and of its authors' release, as named configurations; every field is a flag."""

import dataclasses
from typing import Any

import tyro

from metarl.training.config import Config, RLConfig, SupervisedConfig

# The authors' outer step. The README ("The outer step") compares how it and the default learn, and what they cost.
OUTER_STEP_PAPER = {"curvature": "symmetric", "curvature_fraction": 1.0, "curvature_tasks": 1.0, "cg_iterations": 10}

NAVIGATION = RLConfig(
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

NAVIGATION_PAPER = RLConfig(
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

CHEETAH_VEL = RLConfig(
    preset="cheetah-vel",
    environment="metarl/HalfCheetahVel-v0",
    environment_options={"dynamics": "gymnasium", "observation": "raw"},
    initial_std=0.5,
)

CHEETAH_DIR = dataclasses.replace(CHEETAH_VEL, preset="cheetah-dir", environment="metarl/HalfCheetahDir-v0")

ANT_VEL = dataclasses.replace(
    CHEETAH_VEL,
    preset="ant-vel",
    environment="metarl/AntVel-v1",
    environment_options={"dynamics": "gymnasium", "observation": "compact"},
    hidden_sizes=(64, 64),
    activation="tanh",
    initial_std=0.3,
    max_kl=0.02,  # observation, network, std and this: ants that learn, see CHANGELOG, 0.2.0
)

ANT_DIR = dataclasses.replace(ANT_VEL, preset="ant-dir", environment="metarl/AntDir-v1")

ANT_GOAL = dataclasses.replace(ANT_VEL, preset="ant-goal", environment="metarl/AntGoal-v1")

CHEETAH_VEL_PAPER = RLConfig(
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
    environment="metarl/AntVel-v1",
    episodes=20,
    iterations=375,
)

ANT_DIR_PAPER = dataclasses.replace(
    ANT_VEL_PAPER,
    preset="ant-dir-paper",
    environment="metarl/AntDir-v1",
    episodes=40,
    iterations=575,
    evaluation_step_sizes=(0.1, 0.001),
    evaluation_episodes=40,
)

ANT_GOAL_PAPER = dataclasses.replace(  # there is no published run: the settings are the script's
    ANT_VEL_PAPER,
    preset="ant-goal-paper",
    environment="metarl/AntGoal-v1",
    iterations=500,
    published_tasks=False,
)

# What the paper's baselines have otherwise than MAML, in the runs whose curves were published (PAPER: 100 rollouts of
# 200 timesteps an iteration, delta 0.01, the iterate with the best training return). Flags come after these.
_POOLED = {"tasks": 10, "episodes": 10, "max_kl": 0.01, "evaluation_checkpoint": "best"}
_CHEETAH, _ANT = _POOLED | {"iterations": 1000}, _POOLED | {"iterations": 2000}
BASELINES: dict[tuple[str, str], dict[str, Any]] = {
    ("navigation-paper", "pretrained"): {"evaluation_checkpoint": "best"},
    ("navigation-paper", "oracle"): {"tasks": 1, "episodes": 10, "evaluation_checkpoint": "best"},
    ("navigation-paper", "random"): {"activation": "tanh"},
    ("cheetah-vel-paper", "pretrained"): _CHEETAH | {"evaluation_step_sizes": (0.02, 0.01)},
    ("cheetah-vel-paper", "oracle"): _CHEETAH,
    ("cheetah-dir-paper", "pretrained"): _CHEETAH | {"evaluation_step_sizes": (0.2, 0.1)},
    ("cheetah-dir-paper", "oracle"): _CHEETAH,
    ("cheetah-dir-paper", "random"): {"evaluation_step_sizes": (0.5, 0.25)},
    ("ant-vel-paper", "pretrained"): _ANT | {"evaluation_step_sizes": (0.2, 0.1)},
    ("ant-vel-paper", "oracle"): _ANT,
    ("ant-vel-paper", "random"): {"evaluation_step_sizes": (1.0, 0.5)},
    ("ant-dir-paper", "pretrained"): _ANT | {"evaluation_step_sizes": (0.2, 0.1)},
    ("ant-dir-paper", "oracle"): _ANT,
    ("ant-dir-paper", "random"): {"evaluation_step_sizes": (1.0, 0.5)},
}

CUSTOM = RLConfig(preset="custom", environment=tyro.MISSING, environment_options={})

SINUSOID = SupervisedConfig(
    preset="sinusoid",
    dataset="sinusoid",
    network="dense",
    tasks=25,
    shots=10,
    queries=10,
    evaluation_queries=100,  # ten as in the paper would only make the scores noisier
    inner_step_size=0.01,
    iterations=70_000,
    evaluation_steps=10,
    evaluation_step_sizes=(),  # as in training
    evaluation_tasks=600,
    validation_tasks=200,
    evaluate_every=1000,
    checkpoint_every=1000,
    log_every=100,
    render_every=10_000,
)

OMNIGLOT = SupervisedConfig(
    preset="omniglot-5way-1shot",
    dataset="omniglot",
    network="strided",
    tasks=32,
    inner_step_size=0.4,  # of a mean cross-entropy; the paper's 0.4 of a sum is 2.0, and learned half as fast early
    iterations=60_000,
    evaluation_steps=10,
    evaluation_step_sizes=(),  # as in training
    evaluation_tasks=600,
    validation_tasks=96,
    evaluate_every=500,
    checkpoint_every=100,
    log_every=20,
    render_every=2000,
)

OMNIGLOT_5SHOT = dataclasses.replace(OMNIGLOT, preset="omniglot-5way-5shot", shots=5, queries=5, evaluation_queries=5)

OMNIGLOT_20WAY = dataclasses.replace(
    OMNIGLOT,
    preset="omniglot-20way-1shot",
    ways=20,
    tasks=16,
    inner_steps=5,
    inner_step_size=2.0,  # the paper's 0.1 of the sum over ways
)

OMNIGLOT_20WAY_5SHOT = dataclasses.replace(
    OMNIGLOT_20WAY, preset="omniglot-20way-5shot", shots=5, queries=5, evaluation_queries=5
)

MINI_IMAGENET = SupervisedConfig(
    preset="miniimagenet-5way-1shot",
    dataset="mini_imagenet",
    network="pooled",
    filters=32,
    tasks=4,
    queries=15,
    inner_steps=5,
    inner_step_size=0.05,  # of a mean cross-entropy: the paper's 0.01 of a sum
    gradient_clip=2.0,  # likewise 10
    iterations=60_000,
    evaluation_steps=10,
    evaluation_step_sizes=(),  # as in training
    evaluation_tasks=600,
    validation_tasks=60,
    evaluate_every=500,
    checkpoint_every=100,
    log_every=20,
    render_every=2000,
)

MINI_IMAGENET_5SHOT = dataclasses.replace(
    MINI_IMAGENET, preset="miniimagenet-5way-5shot", shots=5, evaluation_queries=5
)

RL_PRESETS: dict[str, tuple[str, RLConfig]] = {
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

SUPERVISED_PRESETS: dict[str, tuple[str, SupervisedConfig]] = {
    "sinusoid": ("sinusoid regression, 10 examples", SINUSOID),
    "omniglot-5way-1shot": ("Omniglot, 5 characters, 1 example of each", OMNIGLOT),
    "omniglot-5way-5shot": ("Omniglot, 5 characters, 5 examples of each", OMNIGLOT_5SHOT),
    "omniglot-20way-1shot": ("Omniglot, 20 characters, 1 example of each", OMNIGLOT_20WAY),
    "omniglot-20way-5shot": ("Omniglot, 20 characters, 5 examples of each", OMNIGLOT_20WAY_5SHOT),
    "miniimagenet-5way-1shot": ("MiniImagenet, 5 classes, 1 example of each", MINI_IMAGENET),
    "miniimagenet-5way-5shot": ("MiniImagenet, 5 classes, 5 examples of each", MINI_IMAGENET_5SHOT),
}

PRESETS: dict[str, tuple[str, Config]] = {**RL_PRESETS, **SUPERVISED_PRESETS}


def presets_for(method: str) -> dict[str, tuple[str, Config]]:
    """Every preset with the method's own settings as defaults; its `method` is still to be set."""
    return {
        name: (description, dataclasses.replace(config, **BASELINES.get((name, method), {})))
        for name, (description, config) in PRESETS.items()
    }
