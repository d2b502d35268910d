"""Pixels of 8 bits, grey or coloured, of any image that Pillow reads; Pillow's own conversion clips 16-bit values."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIXTEEN_BITS = 65535
MODES = {1: "L", 3: "RGB"}  # channels -> Pillow's name


def opaque(image: Image.Image) -> Image.Image:
    """Put an image with transparent pixels on white paper; other images stay as they are."""
    if not image.has_transparency_data:
        return image
    picture = image.convert("RGBA")
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture).convert("RGB")


def eight_bit(image: Image.Image) -> Image.Image:
    """Scale the values of an image to 8 bits: the white of 16 bits or of floats becomes 255, where Pillow would clip.

    Raises:
        ValueError: integers have more than 16 bits or floats are outside [0, 1], so that white is not known.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image).astype(np.float64)
    white = 1 if image.mode.startswith("F") else SIXTEEN_BITS
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= white):
        raise ValueError(f"values must be from 0 to {white}; got {values.min():g} to {values.max():g}")
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))


def pixels(image: Image.Image, size: int, channels: int) -> NDArray[np.uint8]:
    """An image as [size, size, channels], grey (1) or red, green, blue (3); its proportions are not kept."""
    plain = opaque(eight_bit(image)).convert(MODES[channels])
    resized = plain.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.uint8).reshape(size, size, channels)
