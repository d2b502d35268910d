"""What users launch: the only place that brings the library and its environments together."""

import importlib
import os
import sys

from metarl.machine import forget_missing_backend

# Before torch is loaded: its threads shall sleep while they wait. Spinning, they take the cores from MuJoCo's threads
# and from other runs: with three runs on two cores, outer steps took 5 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

forget_missing_backend()

try:
    importlib.import_module("mujoco")
except (RuntimeError, AttributeError) as error:  # it loads the OpenGL backend at once, before any script can catch that
    if (backend := os.environ.get("MUJOCO_GL")) is None:
        raise
    print(
        f"error: MuJoCo does not load with the OpenGL backend MUJOCO_GL={backend} ({' '.join(str(error).split())}): "
        "unset it, or set glfw (with a display), egl or osmesa (without), whose system library must be installed",
        file=sys.stderr,
    )
    sys.exit(2)
