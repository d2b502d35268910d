"""render.py and --render-every: films as files and in TensorBoard."""

import re
import subprocess
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from scripts import TOY, refused, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl.problem import Film
from metarl.rl.films import AtMode, worded
from metarl.training.film_frames import at_speed, gif, side_by_side


def frames_of(video: Path, width: int) -> np.ndarray:
    """[F, height, width, 3]; of an mp4 by ffmpeg itself, for imageio's reader leaves its pipes open."""
    if video.suffix == ".gif":
        return iio.imread(video)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(video), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True, timeout=60)
    height = int(re.findall(rf"{width}x(\d+)", raw.stderr.decode())[0])
    return np.frombuffer(raw.stdout, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_render_films_each_step(trained: Path, tmp_path: Path, suffix: str) -> None:
    video = tmp_path / f"film{suffix}"
    result = run("render", trained, "--output", video, "--gradient-steps", "2", "--height", "64", "--task-index", "1")
    assert result.returncode == 0, result.stderr
    assert "after 2 gradient steps" in result.stdout
    width = 3 * 64 + 2 * 8  # three panels, which do not touch
    frames = frames_of(video, width)
    assert frames.shape[0] == 7  # the start and 6 timesteps
    assert frames.shape[2] == width
    assert frames.shape[1] > 64
    assert frames.std() > 0


def test_a_task_of_ones_own_is_filmed(trained: Path, tmp_path: Path) -> None:
    video = ("--output", tmp_path / "film.png", "--height", "64")
    done = run("render", trained, *video, "--task", "0.4", "-2")
    assert done.returncode == 0, done.stderr
    first = done.stdout.splitlines()[0]
    assert re.fullmatch(
        r"goal_x 0.40 m, goal_y -2.00 m, after 0 gradient steps: "
        r"timestep 6, return -\d+\.\d, distance to the goal \d\.\d\d m",
        first,
    )
    assert ", after 1 gradient step: " in done.stdout
    refused(
        run("render", trained, *video, "--task", "0.4"), "--task must have 2 numbers (goal_x [m], goal_y [m]); got 1"
    )
    refused(run("render", trained, *video, "--task", "nan", "1"), "must be finite numbers", "got nan 1")


def test_the_mean_action_is_filmed_when_asked_for(trained: Path, tmp_path: Path) -> None:
    said = {}
    for options in ((), ("--mean-action",)):
        done = run(
            "render", trained, "--output", tmp_path / "f.png", "--height", "32", "--task", "0.4", "-0.2", *options
        )
        assert done.returncode == 0, done.stderr
        said[options] = done.stdout.splitlines()[0]
    assert said[()] != said[("--mean-action",)]


def test_a_certain_distribution_has_one_sample() -> None:
    actions = torch.tensor([[0.5, -1.0]])
    certain = AtMode(actions)
    assert certain.sample(torch.randn(1, 2)) is actions
    assert certain.log_prob(actions).tolist() == [0.0]


@pytest.mark.parametrize(
    ("speed", "rate", "kept"), [(1.0, 25.0, 11), (2.0, 50.0, 11), (4.0, 50.0, 6), (0.5, 12.5, 11), (3.0, 37.5, 6)]
)
def test_speed(speed: float, rate: float, kept: int) -> None:
    frames = np.arange(11, dtype=np.uint8)[:, None, None, None]
    some, per_second = at_speed(frames, 25.0, speed)
    assert (per_second, len(some)) == (rate, kept)
    assert some[-1] == 10  # the end is always seen
    assert (len(some) - 1) / per_second == pytest.approx(10 / 25 / speed)


def test_a_film_for_which_there_is_no_room() -> None:
    shown = Film("task", np.zeros((100, 20, 40, 3), np.uint8), [""] * 100)
    words = "films of a height of 1000000: their frames need 1,117,587 GiB of memory at least; there are"
    with pytest.raises(ValueError, match=words):
        side_by_side([shown], height=10**6)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_speeds_that_are_none(speed: float) -> None:
    with pytest.raises(ValueError, match="speed must be a positive number"):
        at_speed(np.zeros((2, 1, 1, 3), np.uint8), 25.0, speed)


@pytest.mark.parametrize(
    ("name", "words"),
    [("velocity [m/s]", "velocity 1.50 m/s"), ("task_0", "task_0 1.50"), ("mass of torso [x]", "mass of torso 1.50 x")],
)
def test_quantities_in_words(name: str, words: str) -> None:
    assert worded(name, 1.5) == words
    assert worded("direction (1 or -1)", -1.0) == "direction -1"
    assert worded("task_0", float("nan")) == "task_0 nan"


@pytest.mark.render
def test_render_films_robots(tmp_path: Path) -> None:
    """The paper's dynamics have 100 timesteps a second: every fourth is drawn, and the last."""
    run("train", "cheetah-dir-paper", *TOY, "--run-dir", tmp_path / "run")
    result = run("render", tmp_path / "run", "--output", tmp_path / "film.mp4", "--height", "64")
    assert result.returncode == 0, result.stderr
    assert "3 frames at 25 per second" in result.stdout


def test_render_says_what_is_wrong(trained: Path, tmp_path: Path) -> None:
    video = tmp_path / "film.gif"
    refused(run("render", trained, "--output", tmp_path / "film.avi"), "must end in .mp4, .gif or .png; got")
    refused(run("render", trained, "--output", video, "--task-index", "9"), "--task-index must be in 0 .. 2; got 9")
    refused(run("render", trained, "--output", video, "--gradient-steps", "-1"), "must be at least 0; got -1")
    refused(run("render", trained, "--output", video, "--height", "2"), "at least 16 pixels high; got 2")
    refused(run("render", tmp_path / "nothing", "--output", video), "holds no run")
    assert not video.exists()


def test_pictures_go_to_tensorboard(tmp_path: Path) -> None:
    assert run("train", "navigation", *TOY, "--render-every", "1", "--run-dir", tmp_path / "run").returncode == 0
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    images = events.Images("adaptation")
    assert [image.step for image in images] == [0, 1]
    assert len(iio.imread(images[0].encoded_image_string)) == 7
    assert (images[0].width, images[0].height) == iio.imread(images[0].encoded_image_string).shape[2:0:-1]


def test_a_gif_keeps_its_frames_and_small_things_their_colour() -> None:
    """A red dot that moves over many greys."""
    frames = np.broadcast_to(np.linspace(0, 255, 96, dtype=np.uint8)[:, None, None], (5, 96, 64, 3)).copy()
    for f in range(5):
        frames[f, 40:44, 10 * f : 10 * f + 4] = (200, 30, 20)
    film = gif(frames, 25.0)
    shown = iio.imread(film, extension=".gif")
    assert shown.shape == frames.shape
    assert np.abs(shown.astype(int) - frames).max() < 20
    assert iio.immeta(film, extension=".gif")["duration"] == 40  # milliseconds
    assert len(film) < len(gif(frames[:1], 25.0)) * 2  # what stays as it is needs few bytes
