"""What must happen in a process before anything is drawn with OpenGL, in our environments and in anybody's."""

import contextlib
import ctypes
import ctypes.util
import functools
import importlib
import itertools
import os
import sys
import traceback
from pathlib import PurePath

ADVICE = {
    "egl": "install it (Debian, Ubuntu: apt-get install libegl1 libopengl0 libgl1-mesa-dri)",
    "osmesa": "install it (Debian, Ubuntu: apt-get install libosmesa6), or unset MUJOCO_GL",
    "glfw": "it needs a display: unset MUJOCO_GL and DISPLAY to draw without one",
}
OPENGL = {"mujoco", "OpenGL", "glfw"}  # packages that look for OpenGL
RENDERER = ("gymnasium", "envs", "mujoco", "mujoco_rendering.py")
HEADLESS = {"egl": "EGL", "osmesa": "OSMesa"}  # value of MUJOCO_GL -> its system library, in order of preference
# What MuJoCo's bindings and PyOpenGL raise where a library is missing or does not work.
FAILURES = (ImportError, AttributeError, RuntimeError, ctypes.ArgumentError)
CONTEXTS = "mujoco.rendering.classic.gl_context"  # MuJoCo's module that chooses a backend, when it is imported


@functools.cache
def prepare() -> None:
    """Make pictures safe beside torch, and possible without a display."""
    # The first gradient imports this module, and with it triton, which brings an LLVM of its own. After Mesa's, which
    # an OpenGL context loads, that ends in a segmentation fault; the other way round it does not.
    importlib.import_module("torch._dynamo")
    choose_backend()


def choose_backend() -> None:
    """Choose the first of `HEADLESS` whose library is there, where MUJOCO_GL is not set and there is no display."""
    if os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY") or not sys.platform.startswith("linux"):
        return
    backend = next((name for name, library in HEADLESS.items() if ctypes.util.find_library(library)), None)
    if backend is None:
        return
    os.environ["MUJOCO_GL"] = backend
    if (contexts := sys.modules.get(CONTEXTS)) is not None:  # imported without a choice: it took what needs a display
        with contextlib.suppress(*FAILURES):  # whoever draws says what does not work
            importlib.reload(contexts)


def of_opengl(error: BaseException) -> bool:
    """Whether an error in drawing says that OpenGL does not work here, and is no mistake of the environment's."""
    frames = traceback.extract_tb(error.__traceback__)
    parts = PurePath(frames[-1].filename).parts if frames else ()
    # MuJoCo's own errors are raised in compiled code, so that Gymnasium's renderer is the last file that they show.
    own = any(place.endswith("-packages") and package in OPENGL for place, package in itertools.pairwise(parts))
    return own or parts[-4:] == RENDERER


def opengl_fails(error: BaseException | None = None) -> str:
    """What does not work and what to do about it, in words; `error` is what was raised, if anything was."""
    backend = os.environ.get("MUJOCO_GL")
    if not (backend or os.environ.get("DISPLAY")) and sys.platform.startswith("linux"):
        return f"pictures need an OpenGL library that draws without a display: {ADVICE['egl']}"
    backend = backend or "glfw"
    words = " ".join(str(error).split())
    return f"OpenGL backend {backend} (MUJOCO_GL) does not work here: {words}; {ADVICE.get(backend, 'unset it')}"
