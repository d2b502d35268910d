"""What must happen in a process before anything is drawn with OpenGL, in our environments and in anybody's."""

import contextlib
import ctypes.util
import functools
import importlib
import os
import sys

HEADLESS = {"egl": "EGL", "osmesa": "OSMesa"}  # value of MUJOCO_GL -> its system library, in order of preference
CONTEXTS = "mujoco.rendering.classic.gl_context"  # MuJoCo's module that chooses a backend, when it is imported


@functools.cache
def prepare() -> None:
    """Make pictures safe beside torch, and possible without a display.

    Where MUJOCO_GL is not set and there is no display, the first of `HEADLESS` whose library is there is chosen.
    """
    # The first gradient imports this module, and with it triton, which brings an LLVM of its own. After Mesa's, which
    # an OpenGL context loads, that ends in a segmentation fault; the other way round it does not.
    importlib.import_module("torch._dynamo")
    if os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY") or not sys.platform.startswith("linux"):
        return
    backend = next((name for name, library in HEADLESS.items() if ctypes.util.find_library(library)), None)
    if backend is None:
        return
    os.environ["MUJOCO_GL"] = backend
    if (contexts := sys.modules.get(CONTEXTS)) is not None:  # imported without a choice: it took what needs a display
        with contextlib.suppress(ImportError, AttributeError, RuntimeError):  # whoever draws says what does not work
            importlib.reload(contexts)
