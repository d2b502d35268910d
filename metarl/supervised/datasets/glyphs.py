"""Glyphs: a dataset of made-up characters, which needs no download."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from metarl.parts import POSITIVE, at_least
from metarl.supervised.datasets import DATASETS, Dataset
from metarl.supervised.few_shot import ImageClasses, few_shot
from metarl.supervised.tasks import KindName, SupervisedTasks

CLASSES = {"train": 700, "validation": 100, "test": 200}
DRAWINGS = 20
SIZE = 28  # pixels
SEED = 1  # of the characters and their drawings; the same for every run, whatever the run's seed
STROKES = 4  # of a character at most; two at least
POINTS = 32  # along a stroke
INK = 0.9  # darkness that a point adds; more where points of strokes lie close to each other
CHUNK = 50  # characters that are drawn at a time

# How two drawings of a character differ, as standard deviations at a jitter of 1; the paper is 1 wide.
TURN = 0.17  # radians
STRETCH = 0.12  # of the logarithm of width and height
SLANT = 0.12
SHIFT = 0.03
BEND = 0.025  # of every control point of a stroke
PEN = 0.15  # of the logarithm of the width of the pen
PEN_WIDTH = 0.026


@DATASETS.register("glyphs")
@dataclass(frozen=True, kw_only=True)
class Glyphs(Dataset):
    """Made-up characters of two to four curved strokes, 28 x 28, in 20 drawings each.

    A character is a set of cubic Bezier curves with random control points. In each drawing it is turned, stretched,
    slanted and shifted, its control points are moved a little, and the pen is thinner or thicker. 700 characters are
    for training, 100 for validation and 200 for testing. They are made at every start, in a few seconds, and are always
    the same. The code that draws them is part of metarl, whose licence they have. The tasks are like Omniglot's; the
    preset `glyphs-5way-1shot` trains on them in a few minutes.
    """

    kind: ClassVar[KindName] = "classification"

    ways: Annotated[int, at_least(2)] = 5
    """N: classes per task."""
    jitter: Annotated[float, POSITIVE] = 1.0
    """How much the drawings of a character differ; twice as much is hard, a tenth is easy."""

    def build(self) -> SupervisedTasks:
        """Make tasks of `ways` characters, which are not rotated."""
        classes = np.arange(sum(CLASSES.values()))
        train, validation, test = np.split(classes, np.cumsum(list(CLASSES.values()))[:-1])
        data = ImageClasses(
            draw(len(classes), self.jitter),
            np.full(len(classes), DRAWINGS),
            {"train": train, "validation": validation, "test": test},
            white=255.0,
        )
        return few_shot(data, ways=self.ways)


def draw(characters: int, jitter: float) -> NDArray[np.uint8]:
    """Draw characters, one after another: [characters x DRAWINGS, SIZE, SIZE, 1]; 255 is ink."""
    drawn = []
    for first in range(0, characters, CHUNK):
        # Each character has its own generator, so that it does not depend on how many there are.
        chunk = range(first, min(first + CHUNK, characters))
        strokes, pens = zip(
            *(_drawings(np.random.default_rng([SEED, character]), jitter) for character in chunk), strict=True
        )
        drawn.append(_ink(np.concatenate(strokes), np.concatenate(pens)))
    return np.concatenate(drawn)


def _drawings(rng: np.random.Generator, jitter: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points along the strokes [DRAWINGS, points, 2] of one character's drawings, and their pens' widths [DRAWINGS].

    The paper is [-0.5, 0.5] in both directions. Strokes that a character does not have lie far outside.
    """
    control = rng.uniform(-0.42, 0.42, (STROKES, 4, 2))
    lacking = rng.integers(0, STROKES - 1)
    noise = rng.standard_normal((DRAWINGS, STROKES, 4, 2))
    turn, wide, high, slant, x, y, pen = jitter * rng.standard_normal((7, DRAWINGS))
    moved = control + BEND * jitter * noise
    moved[:, STROKES - lacking :] += 10.0
    rotation = np.stack(
        [np.cos(TURN * turn), -np.sin(TURN * turn), np.sin(TURN * turn), np.cos(TURN * turn)], -1
    ).reshape(-1, 2, 2)
    zero = np.zeros(DRAWINGS)
    shape = np.stack([np.exp(STRETCH * wide), SLANT * slant, zero, np.exp(STRETCH * high)], -1).reshape(-1, 2, 2)
    points = np.einsum("pc,dscx->dspx", _bezier(), moved).reshape(DRAWINGS, -1, 2)
    placed = np.einsum("dxy,dyz,dpz->dpx", rotation, shape, points) + SHIFT * np.stack([x, y], -1)[:, None]
    return placed, PEN_WIDTH * np.exp(PEN * pen)


def _bezier() -> NDArray[np.float64]:
    """Weights [POINTS, 4] of the control points of a cubic Bezier curve at evenly spaced parameters."""
    t = np.linspace(0, 1, POINTS)
    return np.stack([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3], -1)


def _ink(points: NDArray[np.float64], pens: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Images [n, SIZE, SIZE, 1] of points [n, p, 2]. Each point is a Gaussian blot; many blots together saturate.

    A blot is the product of a column and a row, so that all blots of an image are one product of matrices.
    """
    centres = (np.arange(SIZE) + 0.5) / SIZE - 0.5
    blots = np.exp(-0.5 * ((points[..., None] - centres) / pens[:, None, None, None]) ** 2)  # [n, p, 2, SIZE]
    density = blots[:, :, 1].swapaxes(1, 2) @ blots[:, :, 0]  # [n, SIZE, SIZE]
    return np.round(255 * (1 - np.exp(-INK * density)))[..., None].astype(np.uint8)
