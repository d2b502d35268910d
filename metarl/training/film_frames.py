"""Films side by side, with words on them: for videos and for TensorBoard."""

import io
import math
import textwrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from metarl.arguments import require_room
from metarl.extras import require
from metarl.problem import Film

MARGIN = 6  # pixels around words
GAP = 8  # pixels between films
FASTEST = 50.0  # frames per second that every viewer of GIF shows
COLOURS = 64  # of a GIF: a robot's film has little more than half the bytes of one with 256 in every frame
LOOKED_AT = 16  # frames of a film that its colours are chosen by
SUFFIXES = (".mp4", ".gif", ".png")


def side_by_side(films: list[Film], *, height: int) -> NDArray[np.uint8]:
    """Put films side by side in one film [F, height + caption, width, 3]; shorter films stop at their last frame.

    The caption has the task, and above each film its number of gradient steps and its own caption.

    Args:
        films: of one task, before adaptation and after each gradient step.
        height: of each film in pixels.

    Raises:
        ValueError: a height below 16 pixels, or one for which there is no room.
    """
    if height < 16:
        raise ValueError(f"films must be at least 16 pixels high; got {height}")
    pixels = sum(len(film.frames) * height * _width(film.frames, height) for film in films)
    require_room(2 * 3 * pixels, f"films of a height of {height}: their frames")
    font = ImageFont.load_default(size=max(9, height // 20))
    line = round(font.getbbox("Ag")[3]) + MARGIN
    scaled = [_scaled(film.frames, height) for film in films]
    widths = [frames.shape[2] for frames in scaled]
    lefts = [sum(widths[:i]) + i * GAP for i in range(len(films))]
    across = lefts[-1] + widths[-1]

    def wrapped(text: str, width: int) -> list[str]:
        letters = max(8, int(width / font.getlength("n")) - 2)
        return [part for words in text.split("\n") for part in textwrap.wrap(words, letters)]

    title = wrapped(f"task: {films[0].title}", across)
    captions = [[wrapped(words, width) for words in film.captions] for film, width in zip(films, widths, strict=True)]
    most = max(len(words) for of_film in captions for words in of_film)
    first = (len(title) + 1) * line  # top of the captions
    top = first + most * line + MARGIN
    pictures = []
    for f in range(max(len(frames) for frames in scaled)):
        canvas = Image.new("RGB", (_even(across), _even(top + height)), "white")
        draw = ImageDraw.Draw(canvas)

        def write(words: str, left: int, above: int, draw: ImageDraw.ImageDraw = draw) -> None:
            draw.text((left + MARGIN, above + MARGIN), words, fill="black", font=font)

        for i, words in enumerate(title):
            write(words, 0, i * line)
        for step, (frames, left) in enumerate(zip(scaled, lefts, strict=True)):
            now = min(f, len(frames) - 1)
            steps = "before adaptation" if step == 0 else f"after {step} gradient step{'s' if step > 1 else ''}"
            write(steps, left, first - line)
            for i, words in enumerate(captions[step][now]):
                write(words, left, first + i * line)
            canvas.paste(Image.fromarray(frames[now]), (left, top))
        pictures.append(np.asarray(canvas))
    return np.stack(pictures)


def at_speed(frames: NDArray[np.uint8], frames_per_second: float, speed: float) -> tuple[NDArray[np.uint8], float]:
    """The frames [F, ...] and their rate for a film that runs `speed` times as fast; the last frame is always kept.

    Frames are left out where there would be more than 50 a second, which GIF cannot show.

    Raises:
        ValueError: a speed that is not a positive number.
    """
    if not 0 < speed < math.inf:
        raise ValueError(f"speed must be a positive number; got {speed}")
    every = max(1, math.ceil(frames_per_second * speed / FASTEST))
    kept = frames[(len(frames) - 1) % every :: every]
    return kept, frames_per_second * speed / every


def video(frames: NDArray[np.uint8], frames_per_second: float, suffix: str) -> bytes:
    """Encode frames [F, height, width, 3] as the content of an `.mp4`, a `.gif`, or, the last frame alone, a `.png`.

    Raises:
        ValueError: the suffix is another one.
    """
    require_video(suffix)
    if suffix == ".gif":
        return gif(frames, frames_per_second)
    import imageio.v3 as iio  # here: belongs to an extra

    if suffix == ".png":
        return iio.imwrite("<bytes>", frames[-1], extension=".png")
    return iio.imwrite("<bytes>", frames, extension=".mp4", plugin="FFMPEG", fps=frames_per_second, macro_block_size=2)


def require_video(suffix: str) -> None:
    """Raise ValueError for a suffix of files that `video` does not write, MissingExtraError without an encoder."""
    if suffix not in SUFFIXES:
        raise ValueError(f"--output must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}; got {suffix or 'none'}")
    require("render", "films")


def gif(frames: NDArray[np.uint8], frames_per_second: float) -> bytes:
    """Encode frames [F, height, width, 3] as a GIF that repeats.

    All frames share one palette, so that pixels that stay as they are need no bytes in the next frame.
    """
    some = frames[:: -(-len(frames) // LOOKED_AT)]
    plain = Image.Dither.NONE
    # k-means keeps small things, such as a robot's limbs, from taking the colour of large ones.
    palette = Image.fromarray(np.concatenate(some)).quantize(COLOURS, kmeans=1, dither=plain)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=plain) for frame in frames]
    buffer = io.BytesIO()
    duration = 1000 / frames_per_second
    pictures[0].save(buffer, "GIF", save_all=True, append_images=pictures[1:], duration=duration, loop=0)
    return buffer.getvalue()


def _width(frames: NDArray[np.uint8], height: int) -> int:
    """The width of frames [F, height, width, 3] of this height, in their proportions."""
    return max(1, round(frames.shape[2] * height / frames.shape[1]))


def _scaled(frames: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = _width(frames, height)
    return np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in frames])


def _even(pixels: int) -> int:
    """The number of pixels, made even, as video codecs need it."""
    return pixels + pixels % 2
