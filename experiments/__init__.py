"""What users launch: the only place that brings `metarl` and `envs` together."""

import importlib
import os
import sys

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
