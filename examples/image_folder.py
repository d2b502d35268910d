"""Images of your own in folders: one folder a class, and a classifier that learns new classes from one image of each.

Here the images are drawn, some strokes for each class and a shaky hand for each image; yours are any files that Pillow
reads. From the command line, with a folder that you have, or from Python, which draws one first:

    python experiments/train.py omniglot-5way-1shot --dataset image_folder --data-dir my/images --image-size 28
    python examples/image_folder.py
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from metarl.experiments.evaluate import command as evaluate
from metarl.experiments.train import command as train

SIZE = 56  # pixels; training makes them smaller
POINTS = 5  # of the line that a class is
SHAKE = 3.0  # pixels, a standard deviation


def drawing(points: NDArray[np.float64]) -> Image.Image:
    """Draw a line through points [P, 2], in pixels, black on white."""
    image = Image.new("L", (SIZE, SIZE), 255)
    ImageDraw.Draw(image).line([(float(x), float(y)) for x, y in points], fill=0, width=3)
    return image


def draw(folder: Path, *, classes: int = 60, images: int = 20, seed: int = 0) -> None:
    """Write CLASS/NUMBER.png: every class is a line through points of its own, every image has them shaken."""
    rng = np.random.default_rng(seed)
    for number in range(classes):
        points = rng.uniform(0.15 * SIZE, 0.85 * SIZE, (POINTS, 2))
        place = folder / f"class-{number:02d}"
        place.mkdir(parents=True, exist_ok=True)
        for i in range(images):
            drawing(points + rng.normal(0.0, SHAKE, points.shape)).save(place / f"{i:02d}.png")


if __name__ == "__main__":
    folder = Path("data/lines")
    if not folder.exists():
        draw(folder)
    data = ["--dataset", "image_folder", "--data-dir", str(folder), "--image-size", "28", "--channels", "1"]
    small = ["--network", "dense", "--hidden-sizes", "64", "64", "--tasks", "16", "--iterations", "300"]
    run_dir = "runs/lines"
    train(["omniglot-5way-1shot", *data, *small, "--evaluate-every", "100", "--run-dir", run_dir, *sys.argv[1:]])
    evaluate([run_dir])
