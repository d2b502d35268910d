"""What users launch: the only place that brings `metarl` and `envs` together."""

import os
import sys

try:
    import mujoco  # noqa: F401
except (RuntimeError, AttributeError) as error:  # it loads the OpenGL backend at once, before any script can catch that
    backend = os.environ.get("MUJOCO_GL")
    print(
        f"error: MuJoCo does not load with the OpenGL backend MUJOCO_GL={backend} ({error}): "
        "unset it, or set glfw (with a display), egl or osmesa (without), whose system library must be installed",
        file=sys.stderr,
    )
    sys.exit(2)
