"""What environments draw: pictures of any numbers, and what is said of anything else."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv
from PIL import Image
from small_environments import Target

from metarl.engine.params import stack
from metarl.randomness import Purpose
from metarl.rl.films import film, picture
from metarl.rl.policies.gaussian_mlp import GaussianMLP

HALF = np.full((4, 5, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("drawn", "pixels"),
    [
        (HALF, HALF),
        (HALF / 255, HALF),
        (HALF.astype(np.float32), HALF),
        (HALF.astype(int) * 3, HALF * 0 + 255),
        (HALF[:, :, 0] > 0, HALF * 0 + 255),
        (HALF[:, :, 0], HALF),
        (HALF[:, :, :1], HALF),
        (np.where(np.eye(4, 5)[..., None] > 0, np.nan, HALF / 255), np.where(np.eye(4, 5)[..., None] > 0, 0, HALF)),
        (Image.fromarray(HALF), HALF),
        (HALF.tolist(), HALF),
        (np.dstack([HALF, HALF[:, :, :1] * 0 + 255]), HALF),
        (np.dstack([HALF, HALF[:, :, :1] * 0]), HALF * 0 + 255),
        (np.dstack([HALF, HALF[:, :, :1] * 0 + 51]) / 255, HALF * 0 + 230),  # a fifth of it
    ],
)
def test_pictures_of_any_numbers(drawn: Any, pixels: Any) -> None:
    made = picture(drawn, "env")
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, pixels)


def test_a_picture_stays_when_its_environment_draws_the_next() -> None:
    canvas = np.zeros((2, 2, 3), np.uint8)
    made = picture(canvas, "env")
    canvas += 1
    assert not made.any()


@pytest.mark.parametrize(
    "drawn", ["a", None, [HALF], HALF.transpose(2, 0, 1), HALF[0, 0], 3, {}, HALF[:0], HALF[:, :0]]
)
def test_what_is_no_picture(drawn: Any) -> None:
    with pytest.raises(ValueError, match=r"env: a picture must be an array \[height, width, 3\]; got"):
        picture(drawn, "env")


class Drawn(Target):
    """Draws what grows or not, and says what it achieved or not."""

    render_mode = "rgb_array"

    def __init__(self, growth: int, achieved: float) -> None:
        super().__init__(1)
        self.growth = growth
        self.said = {"achieved": np.array([achieved])}

    def paid(self, actions: Any) -> Any:
        rewards, broken, _ = super().paid(actions)
        return rewards, broken, self.said

    def render(self) -> Any:
        return (np.zeros((4 + self.growth * self.t, 4, 3), np.uint8),)


def filmed(env: VectorEnv) -> Any:
    policy = GaussianMLP(hidden_sizes=(4,)).build(env.single_observation_space, env.single_action_space)
    params = stack(policy.init(torch.Generator().manual_seed(0)), 1)
    return film(env, policy, params, np.array([0.5]), horizon=3, key=(1, Purpose.EVALUATION_ROLLOUTS))


def test_sizes_and_captions() -> None:
    made = filmed(Drawn(0, 0.25))
    assert made.captions[-1].splitlines()[2] == "achieved 0.25"
    assert len(filmed(Drawn(0, np.nan)).captions[-1].splitlines()) == 2  # where nothing is achieved
    with pytest.raises(ValueError, match=r"must be of one size; got \(4, 4, 3\) and \(5, 4, 3\)"):
        filmed(Drawn(1, 0.25))


def test_a_rate_is_a_positive_number() -> None:
    env = Drawn(0, 0.25)
    for right, rate in ((60, 30.0), ("10", 10.0), (np.float32(20), 20.0)):
        env.metadata = Drawn.metadata | {"render_fps": right}
        assert filmed(env).frames_per_second == rate
    for odd in (-3, 0, float("inf"), "fast", None):
        env.metadata = Drawn.metadata | {"render_fps": odd}
        with pytest.raises(ValueError, match="render_fps in its metadata must be a positive number; got"):
            filmed(env)
