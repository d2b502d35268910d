"""Pictures of MuJoCo states by Gymnasium's renderer, with or without a display."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import atexit
import functools
import os
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metarl.arrays import Array
from metarl.envs.opengl import FAILURES, choose_backend, opengl_fails, prepare
from metarl.envs.physics.binding import MjModel, mujoco
from metarl.extras import needs

SIZE = 480  # pixels of a picture's height and width


def picture(model: MjModel, qpos: Array) -> NDArray[np.uint8]:
    """Draw a robot at positions [nq], seen by the model's camera `track`, [480, 480, 3].

    MUJOCO_GL chooses the OpenGL backend: glfw (which needs a display), egl or osmesa. Without MUJOCO_GL and without a
    display, the first of egl and osmesa is taken whose library is installed.

    Raises:
        ValueError: no backend works here; the message says what to install.
    """
    data, renderer = _renderer(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    # `_renderer` has drawn, which made the viewer. Other models' renderers may have taken the context since.
    assert renderer.viewer is not None
    renderer.viewer.make_context_current()
    return np.array(renderer.render("rgb_array"))


# A context costs more than many pictures. Environments of one kind share a model, so that models are few.
@functools.cache
def _renderer(model: MjModel) -> tuple[Any, Any]:
    """The renderer of a model, and the data that it draws."""
    prepare()
    return _made_renderer(model)


def _made_renderer(model: MjModel) -> tuple[Any, Any]:
    """A new renderer, which has drawn once, and the data that it draws. Raises ValueError where that fails."""
    # Imported here, because the import loads OpenGL.
    with needs("render", "pictures of robots"):
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

    if not (os.environ.get("MUJOCO_GL") or os.environ.get("DISPLAY")) and sys.platform.startswith("linux"):
        raise ValueError(opengl_fails())
    model.vis.global_.offwidth = SIZE
    model.vis.global_.offheight = SIZE
    data = mujoco.MjData(model)
    renderer = MujocoRenderer(model, data, width=SIZE, height=SIZE, camera_name="track")
    try:
        # The first picture makes the context.
        renderer.render("rgb_array")
    except (*FAILURES, mujoco.FatalError) as error:
        raise ValueError(opengl_fails(error)) from error
    atexit.register(renderer.close)
    return data, renderer


def _probe() -> None:
    """Draw something, or print in one line why that fails: `python envs/mujoco_rendering.py`."""
    world = "<geom size='1'/><camera name='track'/>"
    model = mujoco.MjModel.from_xml_string(f"<mujoco><worldbody>{world}</worldbody></mujoco>")
    # Nothing of torch comes after the picture here, which would take three times as long with `prepare`.
    choose_backend()
    try:
        _made_renderer(model)
    except ValueError as error:
        sys.exit(f"no pictures: {error}")


if __name__ == "__main__":
    _probe()
