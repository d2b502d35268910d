"""Few instances of a simulator, in which episodes are played in turns: the same numbers, and never one too many."""

import functools
from pathlib import Path
from typing import Any

import lonely
import numpy as np
import pytest
import torch
from lonely import Lonely

from metarl.envs import LoopVectorEnv
from metarl.envs.adapters.turns import Instances
from metarl.experiments import train
from metarl.experiments.presets.configuration import preset_config
from metarl.experiments.presets.training_arguments import Arguments, Script
from metarl.randomness import Purpose
from metarl.rl.episodes import Episodes
from metarl.rl.policies.gaussian_mlp import GaussianMLP
from metarl.rl.sampler import rollout
from metarl.training.checkpoint import load
from metarl.training.tree import with_options

TASKS = np.array([[6.0], [9.0], [12.0]])
EPISODES = 4


@pytest.fixture(autouse=True)
def nobody() -> None:
    Lonely.open.clear()


def played(env: LoopVectorEnv, rounds: int = 1) -> Episodes:
    policy = GaussianMLP(hidden_sizes=(8,)).build(env.single_observation_space, env.single_action_space)
    theta = policy.init(torch.Generator().manual_seed(1))
    params = {name: torch.stack([leaf * (1 + task) for task in range(3)]) for name, leaf in theta.items()}
    results = [
        rollout(env, policy, params, TASKS, horizon=15, key=(0, Purpose.TRAINING_ROLLOUTS, i, 0)) for i in range(rounds)
    ]
    env.close()
    return results[-1]


def test_numbers_are_the_same_whatever_the_instances() -> None:
    n = len(TASKS) * EPISODES
    expected = played(LoopVectorEnv(functools.partial(Lonely, n), n), rounds=2)
    lengths = expected.mask.sum(1)
    assert lengths.min() < lengths.max() == 15
    for instances in (1, 5, n, n + 1):
        env = LoopVectorEnv(functools.partial(Lonely, instances), n, instances=instances)
        assert env.at_once == min(instances, n)
        actual = played(env, rounds=2)
        assert not Lonely.open
        counts = expected.mask[..., None]
        torch.testing.assert_close(actual.observations * counts, expected.observations * counts, rtol=0, atol=0)
        torch.testing.assert_close(actual.actions * counts, expected.actions * counts, rtol=0, atol=0)
        torch.testing.assert_close(actual.log_probs * expected.mask, expected.log_probs * expected.mask, rtol=0, atol=0)
        same = ("rewards", "mask", "achieved", "success", "reward_terms", "breaks")
        assert torch.isfinite(actual.log_probs).all()
        torch.testing.assert_close(
            *({name: getattr(one, name) for name in same} for one in (actual, expected)), rtol=0, atol=0, equal_nan=True
        )


def test_with_workers_one_stays_here() -> None:
    assert [Instances(most, workers=2).at_once for most in (1, 2, 3, 9)] == [1, 1, 2, 8]
    env = LoopVectorEnv(Lonely, 3, instances=3, workers=2)  # each process has one
    env.reset(seed=[1, 2, 3], options={"tasks": TASKS, "reset_mask": np.array([False, True, True])})
    alone = LoopVectorEnv(functools.partial(Lonely, 9), 3)
    alone.reset(seed=[1, 2, 3], options={"tasks": TASKS})
    for _ in range(3):
        ours, theirs = (one.step(np.full((3, 1), 0.5)) for one in (env, alone))
        for a, b in zip(ours[:2], theirs[:2], strict=True):
            np.testing.assert_array_equal(a[1:], b[1:])
    env.close()


def test_the_last_to_reset_has_them_and_the_last_to_close_closes() -> None:
    shared = Instances(1)
    one, two = (LoopVectorEnv(Lonely, 2, instances=shared) for _ in range(2))
    first, second = np.array([True, False]), np.array([False, True])
    one.reset(seed=[0, 1], options={"tasks": TASKS[:2], "reset_mask": first})
    two.reset(seed=[0, 1], options={"tasks": TASKS[:2], "reset_mask": second})
    assert not two.step(np.zeros((2, 1)))[3][1]
    with pytest.raises(ValueError, match="other environments that share these instances have been reset since"):
        one.step(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="1 of these 2 environments can run at once; got a reset of 2"):
        one.reset(options={"tasks": TASKS[:2]})
    one.reset(seed=[0, 1], options={"tasks": TASKS[:2], "reset_mask": first})
    _, _, _, truncated, _ = one.step(np.zeros((2, 1)))
    assert truncated.tolist() == [False, True]  # it was never started
    two.close()
    assert len(Lonely.open) == 1
    one.close()
    assert not Lonely.open


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="instances must be at least 1; got -1"):
        LoopVectorEnv(Lonely, 2, instances=-1)

    class Mute(Lonely):
        sample_tasks: Any = None

    with pytest.raises(ValueError, match="cannot be meta-trained"):
        LoopVectorEnv(Mute, 2, instances=1)
    assert not Lonely.open


def test_a_whole_run_has_one_instance_at_a_time(tmp_path: Path) -> None:
    thetas = []
    for instances in (0, 1):
        Lonely.open.clear()
        config = with_options(
            preset_config("custom", choices={"environment": "lonely:Lonely"}),
            {
                "environment_options": {"most": 1 if instances else 1000},
                "instances": instances,
                "iterations": 2,
                "tasks": 2,
                "episodes": 2,
                "horizon": 6,
                "evaluation_episodes": 2,
                "evaluation_tasks": 2,
                "validation_tasks": 2,
                "evaluate_every": 1,
                "render_every": 1,
                "hidden_sizes": (4,),
            },
        )
        run_dir = tmp_path / str(instances)
        train.main(Arguments(config, Script(run_dir)))
        thetas.append(load(run_dir / "checkpoint.pt").theta)
    torch.testing.assert_close(*thetas, rtol=0, atol=0)
    assert lonely.Lonely.made > 0


def test_no_more_instances_than_are_used() -> None:
    """As many were made as may exist, however few episodes there are: a large number filled the memory."""
    shared = Instances(10**12)
    Lonely.made = 0
    make = functools.partial(Lonely, 5)
    small, large = (LoopVectorEnv(make, n, instances=shared) for n in (2, 5))
    small.reset(seed=[0, 1], options={"tasks": TASKS[:2]})
    assert len(Lonely.open) == 2
    large.reset(seed=list(range(5)), options={"tasks": TASKS[[0, 1, 2, 0, 1]]})
    assert len(Lonely.open) == 5
    again, _ = small.reset(seed=[0, 1], options={"tasks": TASKS[:2]})
    assert len(Lonely.open) == 5
    assert Lonely.made == 7
    alone, _ = LoopVectorEnv(functools.partial(Lonely, 7), 2).reset(seed=[0, 1], options={"tasks": TASKS[:2]})
    np.testing.assert_array_equal(again, alone)
    with pytest.raises(ValueError, match=r"instances must be a whole number; got 1\.5"):
        LoopVectorEnv(Lonely, 2, instances=1.5)  # pyright: ignore[reportArgumentType]
