import runpy
from pathlib import Path

import torch
from gymnasium.spaces import Box

from metarl.rl.policies import POLICIES

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_policy.py"


def test_a_network_of_ones_own_is_meta_trained() -> None:
    returns = runpy.run_path(str(EXAMPLE))["train"](iterations=6, tasks=6, width=16)
    # measured: -82 in the first iteration, -52 in the sixth
    assert sum(returns[-2:]) / 2 > returns[0] + 10


def test_it_is_found_by_its_name() -> None:
    policy = POLICIES.find(f"{EXAMPLE}:Net")(width=7)  # pyright: ignore[reportCallIssue]  # an option of the network
    params = policy.build(Box(-1, 1, (2,)), Box(-1, 1, (2,))).init(torch.Generator())
    assert params["first.weight"].shape == (7, 2)
