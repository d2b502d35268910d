"""Defaults and bounds of all options, written out: another one makes another experiment of everybody's command."""

import dataclasses

from metarl.engine.outer import OUTERS
from metarl.engine.rules import RULES
from metarl.engine.schedules import SCHEDULES
from metarl.parts import options
from metarl.problems import PROBLEMS
from metarl.rl.baselines import BASELINES
from metarl.rl.normalizers import NORMALIZATIONS
from metarl.rl.outer_losses import OUTER_LOSSES
from metarl.rl.policies import POLICIES
from metarl.supervised.datasets import DATASETS
from metarl.supervised.networks import NETWORKS
from metarl.supervised.outer_losses import OUTER_LOSSES as SUPERVISED_OUTER_LOSSES
from metarl.training.config import Config

REGISTRIES = (
    *(PROBLEMS, RULES, OUTERS, SCHEDULES, POLICIES, NORMALIZATIONS, OUTER_LOSSES, BASELINES, DATASETS, NETWORKS),
    SUPERVISED_OUTER_LOSSES,
)
EXPECTED = {
    "run": [
        "method = 'maml'",
        "seed = 1 (at least 0) (below 2^32)",
        "iterations = 500 (at least 0)",
        "tasks = 40 (at least 1)",
        "device = 'cpu'",
        "grace = 60.0 (a number of seconds, a million at most)",
        "max_nonfinite = 10 (at least 1)",
        "inner_steps = 1 (at least 0)",
        "first_order = False",
        "evaluation_steps = 3 (at least 0)",
        "evaluation_step_sizes = () (a positive number)",
        "evaluation_tasks = 40 (at least 1)",
        "evaluation_checkpoint = 'best'",
        "validation_tasks = 40 (at least 1)",
        "evaluate_every = 0 (at least 0)",
        "render_every = 0 (at least 0)",
        "checkpoint_every = 1 (at least 1)",
        "keep_every = 0 (at least 0)",
        "log_every = 1 (at least 1)",
    ],
    "problem reinforcement": [
        "horizon = 100 (at least 1)",
        "episodes = 20 (at least 1)",
        "discount = 0.99 (in [0, 1])",
        "gae_lambda = 1.0 (in [0, 1])",
        "inner_discount = None (in [0, 1])",
        "inner_gae_lambda = None (in [0, 1])",
        "max_broken = 0.5 (in [0, 1])",
        "evaluation_episodes = 20 (at least 1)",
        "evaluation_counting = 'episodes'",
        "published_tasks = False",
        "observations_in_training = None",
        "actions_in_training = None",
    ],
    "problem supervised": [
        "shots = 1 (at least 1)",
        "queries = 1 (at least 1)",
        "evaluation_queries = 1 (at least 1)",
        "evaluation_transductive = True",
        "compile = True",
        "examples_in_training = None",
    ],
    "rule anil": [
        "inner_step_size = 0.1 (a positive number)",
        "adapted = ('head.*', 'log_std') (a list with at least one value)",
    ],
    "rule cavia": [
        "inner_step_size = 0.1 (a positive number)",
        "context_size = 5 (at least 1)",
        "context_layer = 'body.0'",
    ],
    "rule lslr": [
        "inner_step_size = 0.1 (a positive number)",
        "not_adapted = ('*.shift',)",
        "learned_steps = 5 (at least 1)",
        "per_step = ()",
    ],
    "rule meta-sgd": [
        "inner_step_size = 0.1 (a positive number)",
        "not_adapted = ('*.shift',)",
    ],
    "rule sgd": [
        "inner_step_size = 0.1 (a positive number)",
        "not_adapted = ('*.shift',)",
    ],
    "outer adam": [
        "learning_rate = 0.001 (a positive number)",
        "adam_beta1 = 0.9 (a finite number, at least 0) (below 1)",
        "adam_beta2 = 0.999 (a finite number, at least 0) (below 1)",
        "adam_epsilon = 1e-08 (a positive number)",
        "gradient_clip = None (a positive number)",
    ],
    "outer ppo": [
        "learning_rate = 0.001 (a positive number)",
        "adam_beta1 = 0.9 (a finite number, at least 0) (below 1)",
        "adam_beta2 = 0.999 (a finite number, at least 0) (below 1)",
        "adam_epsilon = 1e-08 (a positive number)",
        "gradient_clip = None (a positive number)",
        "epochs = 5 (at least 1)",
        "minibatches = 1 (at least 1)",
        "clip = 0.3 (a positive number) (below 1)",
        "target_kl = None (a positive number)",
    ],
    "outer promp": [
        "learning_rate = 0.001 (a positive number)",
        "adam_beta1 = 0.9 (a finite number, at least 0) (below 1)",
        "adam_beta2 = 0.999 (a finite number, at least 0) (below 1)",
        "adam_epsilon = 1e-08 (a positive number)",
        "gradient_clip = None (a positive number)",
        "epochs = 5 (at least 1)",
        "minibatches = 1 (at least 1)",
        "clip = 0.3 (a positive number) (below 1)",
        "target_kl = None (a positive number)",
        "kl_penalty = 0.0005 (a finite number, at least 0)",
        "kl_target = None (a positive number)",
    ],
    "outer reptile": [
        "meta_step_size = 0.1 (in (0, 1])",
    ],
    "outer trpo": [
        "max_kl = 0.01 (a positive number)",
        "curvature = 'gauss_newton'",
        "curvature_fraction = 0.1 (in (0, 1])",
        "curvature_tasks = 0.5 (in (0, 1])",
        "finite_difference_epsilon = None (a positive number)",
        "cg_iterations = 5 (at least 1)",
        "cg_damping = 1e-05 (a finite number, at least 0)",
        "cg_tolerance = 1e-10 (a finite number, at least 0)",
        "backtrack_ratio = 0.8 (a positive number) (below 1)",
        "max_backtracks = 15 (at least 1)",
    ],
    "schedule constant": [],
    "schedule cosine": [
        "schedule_steps = None (at least 1)",
        "final_share = 0.01 (in [0, 1])",
    ],
    "policy categorical_mlp": [
        "hidden_sizes = (100, 100) (at least 1)",
        "activation = 'relu'",
        "head_scale = 1.0 (a positive number)",
    ],
    "policy gaussian_mlp": [
        "hidden_sizes = (100, 100) (at least 1)",
        "activation = 'relu'",
        "initial_std = 1.0 (a positive number)",
        "min_std = 1e-06 (a positive number)",
        "head_scale = 1.0 (a positive number)",
    ],
    "normalization none": [],
    "normalization running": [
        "observation_clip = 10.0 (a positive number)",
        "memory = 100 (at least 1)",
    ],
    "outer_loss e_maml": [
        "exploration = 1.0 (a positive number)",
    ],
    "outer_loss surrogate": [],
    "outer_loss last_step": [],
    "outer_loss multi_step": [
        "annealing_iterations = 7500 (at least 1)",
    ],
    "baseline linear_features": [
        "ridge = 1e-05 (a positive number)",
    ],
    "baseline time_mean": [],
    "baseline zero": [],
    "dataset glyphs": [
        "ways = 5 (at least 2)",
        "jitter = 1.0 (a positive number)",
    ],
    "dataset image_folder": [
        "data_dir = 'data/images'",
        "cache_dir = None",
        "ways = 5 (at least 2)",
        "image_size = 84 (at least 1)",
        "channels = 3",
        "least_images = 2 (at least 2)",
        "rotate = False",
        "split_shares = (0.64, 0.16, 0.2) (between 0 and 1)",
        "split_seed = 1 (at least 0)",
    ],
    "dataset mini_imagenet": [
        "data_dir = 'data/mini_imagenet'",
        "cache_dir = None",
        "ways = 5 (at least 2)",
    ],
    "dataset omniglot": [
        "data_dir = 'data/omniglot'",
        "cache_dir = None",
        "ways = 5 (at least 2)",
    ],
    "dataset sinusoid": [],
    "network dense": [
        "hidden_sizes = (40, 40) (at least 1) (a list with at least one value)",
    ],
    "network pooled": [
        "filters = 64 (at least 1)",
    ],
    "network strided": [
        "filters = 64 (at least 1)",
    ],
}


def of_options(kind: type) -> list[str]:
    """`name = default (bounds)` of each option with a default that is no part."""
    return [
        " ".join([f"{option.name} = {option.default!r}", *(f"({bound.words})" for bound in option.bounds)])
        for option in options(kind)
        if option.default is not dataclasses.MISSING and option.registry is None
    ]


def test_defaults_and_bounds() -> None:
    found = {"run": of_options(Config)}
    for registry in REGISTRIES:
        ours = [name for name in registry.names if registry.find(name).__module__.startswith("metarl.")]
        found |= {f"{registry.kind} {name}": of_options(registry.find(name)) for name in ours}
    assert found == EXPECTED
