"""Films side by side, with words on them: for videos and for TensorBoard."""

import io
import textwrap

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.problem import Film

MARGIN = 6  # pixels around words


def side_by_side(films: list[Film], *, height: int) -> NDArray[np.uint8]:
    """One film of all: [F, height + caption, width, 3], F the longest one's; shorter ones wait at their end.

    The caption has the task, and over each film the gradient steps and its own words.

    Args:
        films: of one task, before adaptation and after each gradient step.
        height: of each film in pixels.

    Raises:
        ValueError: a height below 16 pixels.
    """
    if height < 16:
        raise ValueError(f"films must be at least 16 pixels high; got {height}")
    font = ImageFont.load_default(size=max(9, height // 20))
    line = round(font.getbbox("Ag")[3]) + MARGIN
    scaled = [_scaled(film.frames, height) for film in films]
    widths = [frames.shape[2] for frames in scaled]
    length = max(len(frames) for frames in scaled)
    letters = max(8, int(sum(widths) / font.getlength("n")) - 2)
    title = textwrap.wrap(films[0].title, letters)
    top, pictures = (len(title) + 2) * line + MARGIN, []
    for f in range(length):
        canvas = Image.new("RGB", (_even(sum(widths)), _even(top + height)), "white")
        draw = ImageDraw.Draw(canvas)
        for i, words in enumerate(title):
            draw.text((MARGIN, i * line + MARGIN), words, fill="black", font=font)
        for step, (film, frames) in enumerate(zip(films, scaled, strict=True)):
            left, i = sum(widths[:step]), min(f, len(frames) - 1)
            steps = "before adaptation" if step == 0 else f"after {step} gradient step{'s' if step > 1 else ''}"
            draw.text((left + MARGIN, top - 2 * line), steps, fill="black", font=font)
            draw.text((left + MARGIN, top - line), film.captions[i], fill="black", font=font)
            canvas.paste(Image.fromarray(frames[i]), (left, top))
        pictures.append(np.asarray(canvas))
    return np.stack(pictures)


def gif(frames: NDArray[np.uint8], frames_per_second: float) -> bytes:
    """An endless GIF of [F, height, width, 3]."""
    buffer = io.BytesIO()
    iio.imwrite(buffer, frames, extension=".gif", duration=1000 / frames_per_second, loop=0, optimize=True)
    return buffer.getvalue()


def _scaled(frames: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = round(frames.shape[2] * height / frames.shape[1])
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames])


def _even(pixels: int) -> int:
    """Video codecs want even sizes."""
    return pixels + pixels % 2
