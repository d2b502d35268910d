"""Pictures of a model's predictions in one task: a fitted curve (Finn et al. 2017, figure 2), or labelled images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metarl.extras import needs

with needs("plots", "figures"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

# Colours are of Okabe and Ito's palette, which the colour-blind can tell apart.
RIGHT = "#0072B2"
WRONG = "#D55E00"
TRUTH = "#555555"
FIT_STYLES = ((":", "#999999"), ("--", "#E69F00"), ("-", "#0072B2"))  # before, in between, at the end
ROWS = 2  # support images of each class at most, and as many query images

Trace = dict[str, NDArray[np.float32]]  # of one task: support and query, inputs and targets; outputs [K + 1, N, O]


def draw_fits(axes: Axes, trace: Trace, steps: Sequence[int]) -> None:
    """The true curve, the support points, and the model's curve after each of the given numbers of steps."""
    order = trace["query_inputs"][:, 0].argsort()
    x = trace["query_inputs"][order, 0]
    axes.plot(x, trace["query_targets"][order, 0], color=TRUTH, linewidth=3, alpha=0.35, label="truth")
    for i, step in enumerate(steps):
        line, color = FIT_STYLES[-1] if i == len(steps) - 1 else FIT_STYLES[i]
        words = "before" if step == 0 else f"after {step} step{'s' if step > 1 else ''}"
        axes.plot(x, trace["outputs"][step, order, 0], line, color=color, label=words)
    axes.plot(trace["support_inputs"][:, 0], trace["support_targets"][:, 0], "^", color=WRONG, label="examples")
    axes.set(xlabel="x", ylabel="y")


def draw_images(axes: Axes, trace: Trace, step: int) -> None:
    """A column per class: support images, below them query images with their predicted labels after `step` steps."""
    labels = trace["support_targets"]
    predicted = trace["outputs"][step].argmax(-1)
    height, width, _ = _as_image(trace["support_inputs"][0]).shape
    column = 1.2 * width
    row = 1.1 * height
    captioned = 1.5 * height
    classes = int(labels.max()) + 1
    bottom = 0.0
    for label in range(classes):
        left = label * column
        top = 0.0
        axes.text(left + width / 2, -0.15 * height, str(label + 1), ha="center")
        for i in np.flatnonzero(labels == label)[:ROWS]:
            _place(axes, trace["support_inputs"][i], left, top)
            top += row
        top += 0.3 * height
        for i in np.flatnonzero(trace["query_targets"] == label)[:ROWS]:
            _place(axes, trace["query_inputs"][i], left, top)
            color, mark = (RIGHT, "✓") if predicted[i] == label else (WRONG, "✗")
            words = f"{predicted[i] + 1} {mark}"
            axes.text(left + width / 2, top + 1.3 * height, words, color=color, ha="center")
            top += captioned
        bottom = max(bottom, top)
    axes.set(aspect="equal", xlim=(-0.1 * width, classes * column), ylim=(bottom, -0.6 * height))
    axes.axis("off")


def _as_image(example: NDArray[np.float32]) -> NDArray[np.float32]:
    """Make an image [height, width, 1 or 3] in [0, 1] of an input; a vector is a row, 2 or 4 channels turn grey."""
    image = example[None, :, None] if example.ndim == 1 else example
    if image.shape[-1] != 3:
        image = image.mean(-1, keepdims=True)
    return image.clip(0, 1)


def _place(axes: Axes, example: NDArray[np.float32], left: float, top: float) -> None:
    image = _as_image(example)
    height, width, channels = image.shape
    # In grey images ink is 1; it is shown dark.
    pixels = 1 - np.repeat(image, 3, axis=-1) if channels == 1 else image
    axes.imshow(pixels, extent=(left, left + width, top + height, top), vmin=0, vmax=1)


def picture(trace: Trace, step: int) -> NDArray[np.uint8]:
    """One task after `step` gradient steps, [height, width, 3]: curves where targets are values, images otherwise."""
    values = trace["query_targets"].dtype.kind == "f"
    classes = 0 if values else int(trace["support_targets"].max()) + 1
    figure = Figure(figsize=(4.0 if values else max(3.0, 0.7 * classes), 3.0), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    if values:
        draw_fits(axes, trace, [step])
        shown = np.concatenate([trace["support_targets"].ravel(), trace["query_targets"].ravel()])
        margin = 0.1 * max(float(np.ptp(shown)), 1e-6)
        # Limits of the examples alone, so that they are the same after every step.
        axes.set_ylim(float(shown.min()) - margin, float(shown.max()) + margin)
        axes.legend(fontsize=7, loc="upper right", frameon=False)
    else:
        draw_images(axes, trace, step)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
