"""What presets are made of: plain options, read without torch, so that a name mistyped costs no time."""

import difflib
from typing import Any, NamedTuple

Options = dict[str, Any]


class Variant(NamedTuple):
    """Options that a preset has otherwise where the command line gives another one, which `train.py` then says."""

    option: str  # the option that is given, such as `shots`
    options: Options
    reason: str
    below: int | None = None  # the number that is given is smaller
    value: str | None = None  # the word that is given

    def applies(self, given: str | None) -> bool:
        """Whether the option is given, as the command line has it, with such a value."""
        if self.below is not None:
            return given is not None and given.isdecimal() and int(given) < self.below
        return given is not None and given == self.value

    @property
    def condition(self) -> str:
        """The values for which it applies, in words that follow the option's flag."""
        return f"is {self.value}" if self.below is None else f"is below {self.below}"


class Preset(NamedTuple):
    """A named experiment."""

    description: str
    options: Options
    variants: tuple[Variant, ...] = ()


# The authors' outer step. The documentation ("The outer step") compares how it and the default learn, and their cost.
OUTER_STEP_PAPER: Options = {
    "curvature": "symmetric",
    "curvature_fraction": 1.0,
    "curvature_tasks": 1.0,
    "cg_iterations": 10,
}

NAVIGATION: Options = {
    "problem": "reinforcement",
    "environment": "metarl/Navigation2D-v0",
    "outer": "trpo",
    "tasks": 20,
    "episodes": 20,
    "iterations": 100,
    "evaluation_steps": 4,
    "evaluation_episodes": 40,
}

NAVIGATION_PAPER: Options = NAVIGATION | {
    "reward": "distance",
    "inner_step_size": 0.5,
    "evaluation_step_sizes": (0.5, 0.25),
    "evaluation_counting": "timesteps",
    "evaluation_checkpoint": "last",  # the published iterate is the 100th
    "published_tasks": True,
    **OUTER_STEP_PAPER,
}

# Settings with which a half-cheetah learns; docs/explanation/what-matters.md has what each of them does.
CHEETAH_VEL: Options = {
    "problem": "reinforcement",
    "environment": "metarl/HalfCheetahVel-v0",
    "observation": "compact",
    "tasks": 10,
    "episodes": 20,
    "iterations": 1000,
    "discount": 0.97,
    "gae_lambda": 0.97,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "initial_std": 0.3,
    "inner_step_size": 0.08,
    "outer": "ppo",
    "epochs": 10,
    "minibatches": 5,
    "clip": 0.2,
    "target_kl": 0.02,
    "learning_rate": 1e-3,
    "schedule": "cosine",
    "schedule_steps": 6000,
    "final_share": 0.2,
}

ROBOT_WITH_CAVIA = Variant(
    "rule",
    {"context_size": 8, "inner_step_size": 2.0, "inner_discount": 0.9, "inner_gae_lambda": 0.9},
    "a context learns with other settings than the weights",
    value="cavia",
)

CHEETAH_DIR: Options = CHEETAH_VEL | {
    "environment": "metarl/HalfCheetahDir-v0",
    "head_scale": 0.01,
    "min_std": 0.2,
    "schedule_steps": 20_000,
    "final_share": 0.3,
}

# Settings with which an ant learns; docs/results/ants.md has what was tried.
ANT_VEL: Options = CHEETAH_VEL | {
    "environment": "metarl/AntVel-v1",
    "tasks": 8,
    "iterations": 750,
    "discount": 0.99,
    "gae_lambda": 0.95,
    "head_scale": 0.01,
    "minibatches": 4,
    "clip": 0.3,
    "target_kl": 0.03,
    "schedule_steps": 20_000,
}

ANT_DIR: Options = ANT_VEL | {
    "environment": "metarl/AntDir-v1",
    "tasks": 4,
    "iterations": 1500,
    "minibatches": 2,
}

ANT_GOAL: Options = ANT_VEL | {"environment": "metarl/AntGoal-v2"}

CHEETAH_VEL_PAPER: Options = {
    "problem": "reinforcement",
    "environment": "metarl/HalfCheetahVel-v0",
    "dynamics": "paper",
    "outer": "trpo",
    "horizon": 200,
    "tasks": 40,
    "episodes": 10,
    "inner_step_size": 0.1,
    "iterations": 475,
    "evaluation_step_sizes": (0.1, 0.05),
    "evaluation_counting": "timesteps",
    "evaluation_checkpoint": "last",  # the published iterate is the 475th
    "published_tasks": True,
    **OUTER_STEP_PAPER,
}

CHEETAH_DIR_PAPER: Options = CHEETAH_VEL_PAPER | {
    "environment": "metarl/HalfCheetahDir-v0",
    "episodes": 20,
    "iterations": 100,
    "max_kl": 0.02,
}

ANT_VEL_PAPER: Options = CHEETAH_VEL_PAPER | {"environment": "metarl/AntVel-v1", "episodes": 20, "iterations": 375}

ANT_DIR_PAPER: Options = ANT_VEL_PAPER | {
    "environment": "metarl/AntDir-v1",
    "episodes": 40,
    "iterations": 575,
    "evaluation_step_sizes": (0.1, 0.001),
    "evaluation_episodes": 40,
}

ANT_GOAL_PAPER: Options = ANT_VEL_PAPER | {  # there is no published run: the settings are the script's
    "environment": "metarl/AntGoal-v2",
    "iterations": 500,
    "published_tasks": False,
}

# Not searched for. Observations are normalised because positions differ by centimetres.
ML1_REACH: Options = {
    "problem": "reinforcement",
    "environment": "metarl/ML1-v0",
    "normalization": "running",
    "horizon": 500,
    "discount": 0.95,
    "gae_lambda": 0.95,
    "hidden_sizes": (64, 64),
    "activation": "tanh",
    "initial_std": 0.5,
    "inner_step_size": 0.1,
    "outer": "trpo",
    "max_kl": 0.05,
    "tasks": 10,
    "episodes": 5,
    "evaluation_episodes": 5,
    "validation_tasks": 10,
}

SINUSOID: Options = {
    "problem": "supervised",
    "dataset": "sinusoid",
    "network": "dense",
    "outer": "adam",
    "tasks": 25,
    "shots": 10,
    "queries": 10,
    "evaluation_queries": 100,  # ten as in the paper would only make the scores noisier
    "inner_step_size": 0.01,
    "iterations": 70_000,
    "evaluation_steps": 10,
    "evaluation_tasks": 600,
    "validation_tasks": 200,
    "evaluate_every": 1000,
    "checkpoint_every": 1000,
    "log_every": 100,
    "render_every": 10_000,
}

FEW_EXAMPLES = Variant(
    "shots",
    {"inner_step_size": 0.001},  # the authors' code; docs/results/sinusoid.md has both
    "steps of 0.01, as in the paper's text, diverge on so few examples after the steps that were trained for",
    below=10,
)

OMNIGLOT: Options = {
    "problem": "supervised",
    "dataset": "omniglot",
    "network": "strided",
    "outer": "adam",
    "tasks": 32,
    "inner_step_size": 0.4,  # of a mean cross-entropy; the paper's 0.4 of a sum is 2.0, and learned half as fast early
    "iterations": 60_000,
    "evaluation_steps": 10,
    "evaluation_tasks": 600,
    "validation_tasks": 96,
    "evaluate_every": 500,
    "checkpoint_every": 100,
    "log_every": 20,
    "render_every": 2000,
}

FIVE_SHOTS: Options = {"shots": 5, "queries": 5, "evaluation_queries": 5}

OMNIGLOT_20WAY: Options = OMNIGLOT | {
    "ways": 20,
    "tasks": 16,
    "inner_steps": 5,
    "inner_step_size": 2.0,  # the paper's 0.1 of the sum over ways
}

# A size that one core trains in a few minutes; docs/tutorials/few-shot.md has what comes of it.
GLYPHS: Options = OMNIGLOT | {
    "dataset": "glyphs",
    "filters": 32,
    "tasks": 16,
    "iterations": 1000,
    "evaluation_steps": 3,
    "evaluate_every": 250,
    "render_every": 500,
}

MINI_IMAGENET: Options = {
    "problem": "supervised",
    "dataset": "mini_imagenet",
    "network": "pooled",
    "filters": 32,
    "outer": "adam",
    "gradient_clip": 2.0,  # of a mean cross-entropy: the paper's 10 of a sum
    "tasks": 4,
    "queries": 15,
    "inner_steps": 5,
    "inner_step_size": 0.05,  # likewise: the paper's 0.01
    "iterations": 60_000,
    "evaluation_steps": 10,
    "evaluation_tasks": 600,
    "validation_tasks": 60,
    "evaluate_every": 500,
    "checkpoint_every": 100,
    "log_every": 20,
    "render_every": 2000,
}

PRESETS: dict[str, Preset] = {
    "navigation": Preset("2D navigation as the paper's text has it: squared distance, step size 0.1", NAVIGATION),
    "navigation-paper": Preset(
        "2D navigation as the published run: distance, step size 0.5, 100 iterations", NAVIGATION_PAPER
    ),
    "cheetah-vel": Preset(
        "half-cheetah, goal velocity, Gymnasium's dynamics, compact observations", CHEETAH_VEL, (ROBOT_WITH_CAVIA,)
    ),
    "cheetah-dir": Preset(
        "half-cheetah, goal direction, Gymnasium's dynamics, compact observations", CHEETAH_DIR, (ROBOT_WITH_CAVIA,)
    ),
    "ant-vel": Preset("ant, goal velocity, Gymnasium's dynamics, compact observations", ANT_VEL, (ROBOT_WITH_CAVIA,)),
    "ant-dir": Preset("ant, goal direction, Gymnasium's dynamics, compact observations", ANT_DIR, (ROBOT_WITH_CAVIA,)),
    "ant-goal": Preset("ant, goal position, Gymnasium's dynamics, compact observations", ANT_GOAL, (ROBOT_WITH_CAVIA,)),
    "cheetah-vel-paper": Preset("half-cheetah, goal velocity, as the published run: 475 iterations", CHEETAH_VEL_PAPER),
    "cheetah-dir-paper": Preset(
        "half-cheetah, goal direction, as the published run: 100 iterations", CHEETAH_DIR_PAPER
    ),
    "ant-vel-paper": Preset("ant, goal velocity, as the published run: 375 iterations", ANT_VEL_PAPER),
    "ant-dir-paper": Preset("ant, goal direction, as the published run: 575 iterations", ANT_DIR_PAPER),
    "ant-goal-paper": Preset("ant, goal position, as the authors' script: 500 iterations", ANT_GOAL_PAPER),
    "ml1-reach": Preset("Meta-World's reaching to 50 goals, tested on 50 others; needs Meta-World", ML1_REACH),
    "custom": Preset(
        "any environment, yours too: name it with --environment [MODULE:]ID",
        {"problem": "reinforcement", "outer": "trpo"},
    ),
    "sinusoid": Preset("sinusoid regression, 10 examples", SINUSOID, (FEW_EXAMPLES,)),
    "omniglot-5way-1shot": Preset("Omniglot, 5 characters, 1 example of each", OMNIGLOT),
    "omniglot-5way-5shot": Preset("Omniglot, 5 characters, 5 examples of each", OMNIGLOT | FIVE_SHOTS),
    "omniglot-20way-1shot": Preset("Omniglot, 20 characters, 1 example of each", OMNIGLOT_20WAY),
    "omniglot-20way-5shot": Preset("Omniglot, 20 characters, 5 examples of each", OMNIGLOT_20WAY | FIVE_SHOTS),
    "glyphs-5way-1shot": Preset("made-up characters, 5 of them, 1 example of each; needs no download", GLYPHS),
    "miniimagenet-5way-1shot": Preset("MiniImagenet, 5 classes, 1 example of each", MINI_IMAGENET),
    "miniimagenet-5way-5shot": Preset(
        "MiniImagenet, 5 classes, 5 examples of each", MINI_IMAGENET | {"shots": 5, "evaluation_queries": 5}
    ),
}

# What the methods that the paper compares MAML with have otherwise, in the runs whose curves were published (100
# rollouts of 200 timesteps an iteration, delta 0.01, the iterate with the best training return). Flags come after.
_POOLED: Options = {"tasks": 10, "episodes": 10, "max_kl": 0.01, "evaluation_checkpoint": "best"}
_CHEETAH: Options = _POOLED | {"iterations": 1000}
_ANT: Options = _POOLED | {"iterations": 2000}
METHOD_OPTIONS: dict[tuple[str, str], Options] = {
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


def require_preset(name: str) -> None:
    """Raise ValueError for a name that no preset has."""
    if name not in PRESETS:
        close = difflib.get_close_matches(name, PRESETS, n=1)
        right = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(PRESETS)}"
        raise ValueError(f"unknown preset {name!r}: {right}")
