"""Tables and figures as files: each is whole, or as it was before."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from metarl.files import write_atomically
from metarl.starting_folder import from_start

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as a .csv file. Raises OSError that names it."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    _write(path, buffer.getvalue().encode())


def write_figure(path: Path, figure: "Figure", dpi: int) -> None:
    """Write a figure in the format of the file's ending. Raises OSError that names the file.

    A PNG has a palette of 128 colours. A PDF has TrueType fonts in it, which publishers ask for and editors can change.
    """
    if path.suffix.lower() == ".png":
        _write(path, _png(figure, dpi))
        return
    import matplotlib as mpl  # here: belongs to an extra, which whoever has a figure has

    buffer = io.BytesIO()
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format=path.suffix.lower().removeprefix("."), dpi=dpi)
    _write(path, buffer.getvalue())


def _png(figure: "Figure", dpi: int) -> bytes:
    """A figure as a PNG with 128 colours, which has a quarter of the bytes of one with all.

    Median cut keeps the colours of lines and areas as they are. Those mixed at their edges differ a little.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here: see above

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    # Drawn once: `savefig` draws a figure with a layout twice.
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    few = picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _write(path: Path, data: bytes) -> None:
    place = from_start(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, data)
