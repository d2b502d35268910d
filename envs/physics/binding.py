"""MuJoCo's Python package; where it does not load, one line says why."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import os
from typing import TypeAlias

from metarl.extras import needs

try:
    with needs("mujoco", "robots"):
        import mujoco
        from mujoco.batch import Batch, SimulationError
except (RuntimeError, AttributeError) as error:  # it loads the OpenGL backend at once
    if (backend := os.environ.get("MUJOCO_GL")) is None:
        raise
    raise ValueError(
        f"MuJoCo does not load with the OpenGL backend MUJOCO_GL={backend} ({' '.join(str(error).split())}): "
        "unset it, or set glfw (with a display), egl or osmesa (without), whose system library must be installed"
    ) from error

MjModel: TypeAlias = mujoco.MjModel

__all__ = ["Batch", "MjModel", "SimulationError", "mujoco"]
