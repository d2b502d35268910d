"""TensorBoard's callback where TensorBoard is installed; without it, a training writes no event files."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metarl.extras import advice, missing

if TYPE_CHECKING:
    from metarl.training.callbacks.tensorboard import TensorBoard
    from metarl.training.tensorboard_files import Option


def event_files(
    directory: Path, options: "Mapping[str, Option] | None" = None, distinguishing: Sequence[str] = ()
) -> "list[TensorBoard]":
    """The callback that writes TensorBoard's files; none, and a warning, where TensorBoard is not installed.

    Args:
        directory, options, distinguishing: see `TensorBoard`.
    """
    if missing("tensorboard"):
        warnings.warn(f"no files for TensorBoard, which is not installed: {advice('tensorboard')}", stacklevel=2)
        return []
    from metarl.training.callbacks.tensorboard import TensorBoard  # here: belongs to an extra

    return [TensorBoard(directory, options, distinguishing)]
