"""render.py and --render-every: films as files and in TensorBoard."""

import re
import subprocess
from pathlib import Path

import imageio.v3 as iio
import imageio_ffmpeg
import numpy as np
import pytest
from scripts import TOY, refused, run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


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
    frames = frames_of(video, 3 * 64)
    assert frames.shape[0] == 7  # the start and 6 timesteps
    assert frames.shape[2] == 3 * 64
    assert frames.shape[1] > 64
    assert frames.std() > 0


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
