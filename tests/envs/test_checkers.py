"""Every environment of ours, alone, passes the checkers that other libraries train behind."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import metarl.envs

FOREIGN = {"metarl/ML1-v0", "metarl/ML10-v0"}  # Meta-World's own environments: test_metaworld.py
IDS = sorted(name for name in gymnasium.registry if name.startswith("metarl/") and name not in FOREIGN)


def by_gymnasium(env: gymnasium.Env) -> None:
    check_env(env, skip_render_check=True)  # pictures have tests of their own


def by_stable_baselines(env: gymnasium.Env) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Your action space has dtype float64")  # it converts them
        importlib.import_module("stable_baselines3.common.env_checker").check_env(env)


CHECKERS: list[Callable[[Any], None]] = [by_gymnasium]
if importlib.util.find_spec("stable_baselines3"):  # of the dev extra
    CHECKERS.append(by_stable_baselines)


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("name", IDS)
def test_a_checker_has_nothing_to_say(name: str, checker: Callable[[Any], None]) -> None:
    env = gymnasium.make(name).unwrapped
    assert isinstance(env, metarl.envs.TaskEnv)
    checker(env)


def test_there_are_environments() -> None:
    assert {"metarl/Navigation2D-v0", "metarl/HalfCheetahVel-v0", "metarl/Walker2DParams-v0"} < set(IDS)
