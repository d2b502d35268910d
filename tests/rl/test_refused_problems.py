import math
from typing import Any

import numpy as np
import pytest
from conftest import sgd
from navigation_problem import SETTINGS, problem

from metarl import envs
from metarl.rl.inner_losses.log_prob import LogProb


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inner_loss": "ppo"}, "unknown inner_loss 'ppo': choose one of dice, likelihood_ratio, log_prob, or"),
        ({"inner_steps": -1}, "got -1"),
        ({"inner_steps": 1, "task_per_episode": True}, "inner_steps must be 0; got 1"),
    ],
)
def test_impossible_problems_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem(**options)


def test_what_does_not_learn_is_refused_by_the_first_iteration() -> None:
    held = sgd(0.1)._replace(update=lambda fast, gradient, meta, step: {"log_std": fast["log_std"]})
    made = problem(rule=held)
    with pytest.raises(ValueError, match=r"update of the rule must give the parameters .* it lacks body.0.weight"):
        made.collect(made.initial_parameters(1), 0)
    with pytest.raises(ValueError, match="inner_loss must be a function; got LogProb"):
        problem(inner_loss=LogProb())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": 0}, "tasks must be at least 1; got 0"),
        ({"episodes": 0}, "episodes must be at least 1; got 0"),
        ({"horizon": 2.0}, "horizon must be a whole number; got 2.0"),
        ({"discount": 1.5}, r"discount must be in \[0, 1\]; got 1.5"),
        ({"gae_lambda": -1.0}, r"gae_lambda must be in \[0, 1\]; got -1.0"),
        ({"inner_discount": 1.5}, r"inner_discount must be in \[0, 1\]; got 1.5"),
        ({"inner_gae_lambda": -1.0}, r"inner_gae_lambda must be in \[0, 1\]; got -1.0"),
        ({"max_broken": math.nan}, r"max_broken must be in \[0, 1\]; got nan"),
        ({"evaluation_counting": "steps"}, "evaluation_counting must be episodes or timesteps; got 'steps'"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    """A discount of 1.5 was trained with, in silence."""
    with pytest.raises(ValueError, match=words):
        problem(settings=SETTINGS._replace(**options))


@pytest.mark.parametrize("options", [{"inner_steps": 1.5}, {"seed": 0.5}])
def test_what_must_be_whole_numbers(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a whole number"):
        problem(**options)


def test_as_many_environments_as_are_asked_for() -> None:
    """Four, of which each task has one, are a third of the episodes; that they are not twelve went unsaid."""

    class Four(envs.TaskVectorEnv):
        def __init__(self, process: Any, num_envs: int, **options: Any) -> None:
            super().__init__(process, 3, **options)

    made = problem(environment=Four)
    with pytest.raises(ValueError, match=r"make_env\(12\) must make as many environments as it is asked for; got 3"):
        made.collect(made.initial_parameters(1), 0)
    theta = problem().initial_parameters(1)
    with pytest.raises(ValueError, match=r"make_env\(5\) must make .*; got 3"):
        made.evaluate(theta, sgd(0.1), 1, np.zeros((1, 2)), 1)
