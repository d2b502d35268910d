"""Before the first OpenGL context: torch._dynamo is loaded, and without a display a backend is chosen."""

import ctypes
import functools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco import mujoco_rendering as rendering
from lonely import Lonely
from scripts import ROOT, TOY, run

from metarl.envs import LoopVectorEnv, mujoco_rendering, opengl
from metarl.envs.adapters import block, gymnasium_part
from metarl.envs.adapters.block import ContractError
from metarl.experiments.presets.configuration import preset_config

bindings: Any = mujoco  # which come without types

WATCH = """
import sys
import gymnasium.envs.mujoco.mujoco_rendering as rendering

class Watched(rendering.MujocoRenderer):
    def render(self, *arguments):
        print("torch._dynamo" in sys.modules)
        return super().render(*arguments)

rendering.MujocoRenderer = Watched
"""
NOTEBOOK = """
import gymnasium
import metarl.envs
env = gymnasium.make("metarl/HalfCheetahVel-v0", render_mode="rgb_array")
env.reset(seed=0)
env.render()
import metarl
agent = metarl.load_agent("experiments/results/navigation-paper/maml-seed1")
agent.adapt(gymnasium.make_vec("metarl/Navigation2D-v0", num_envs=2, horizon=5), [0.1, 0.1])
"""


@pytest.mark.render
def test_env_render_and_then_adapt_in_a_fresh_process() -> None:
    assert "metarl.agent" not in WATCH + NOTEBOOK.split("import metarl\n")[0]
    done = subprocess.run(
        [sys.executable, "-c", WATCH + NOTEBOOK], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "True"


@pytest.mark.render
def test_render_py_prepares_before_it_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Watched(rendering.MujocoRenderer):
        def render(self, render_mode: str | None) -> Any:
            happened.append("drawn")
            return super().render(render_mode)

    def prepared() -> None:
        happened.append("prepared")
        opengl.prepare()

    monkeypatch.setattr(rendering, "MujocoRenderer", Watched)
    monkeypatch.setattr(mujoco_rendering, "prepare", prepared)
    mujoco_rendering._renderer.cache_clear()
    run_dir = tmp_path / "run"
    trained = run("train", "cheetah-vel", "--method", "random", "--outer", "trpo", *TOY, "--run-dir", run_dir)
    assert trained.returncode == 0
    assert run("render", run_dir, "--output", tmp_path / "f.png").returncode == 0
    assert (tmp_path / "f.png").is_file()
    assert happened[:2] == ["prepared", "drawn"]


@pytest.mark.parametrize(
    ("libraries", "variables", "platform", "chosen"),
    [
        (("EGL", "OSMesa"), {}, "linux", "egl"),
        (("OSMesa",), {}, "linux", "osmesa"),
        (("EGL",), {"DISPLAY": ":0"}, "linux", None),
        (("EGL",), {"MUJOCO_GL": "glfw"}, "linux", "glfw"),
        ((), {}, "linux", None),
        ((), {}, "darwin", None),
        (("EGL",), {}, "win32", None),
    ],
)
def test_a_backend_is_chosen(
    libraries: tuple[str, ...],
    variables: dict[str, str],
    platform: str,
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(opengl.ctypes.util, "find_library", lambda name: name if name in libraries else None)
    reloaded: list[str] = []
    monkeypatch.setattr(opengl.importlib, "reload", lambda module: reloaded.append(module.__name__))
    opengl.prepare.__wrapped__()
    assert opengl.os.environ.get("MUJOCO_GL") == chosen
    assert reloaded == ([opengl.CONTEXTS] if chosen in opengl.HEADLESS else [])


def test_where_nothing_can_draw_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mujoco_rendering, "prepare", lambda: None)
    with pytest.raises(ValueError, match="pictures need an OpenGL library that draws without a display: install it"):
        mujoco_rendering._renderer.__wrapped__(bindings.MjModel.from_xml_string("<mujoco/>"))


@pytest.mark.parametrize("error", [*opengl.FAILURES, bindings.FatalError])
def test_what_the_bindings_raise_is_one_line(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """PyOpenGL without libOpenGL ends in a `ctypes.ArgumentError`, for one."""
    from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

    def fail(*_: object) -> None:
        raise error("argument 1: 'NoneType' object has no attribute 'glGetError'")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr(mujoco_rendering, "prepare", lambda: None)
    monkeypatch.setattr(MujocoRenderer, "render", fail)
    with pytest.raises(ValueError, match=r"OpenGL backend egl .* does not work here: argument 1: .*apt-get install"):
        mujoco_rendering._renderer.__wrapped__(bindings.MjModel.from_xml_string("<mujoco/>"))


def test_a_backend_that_does_not_load_is_no_error_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ctypes.ArgumentError("argument 1: 'NoneType' object has no attribute 'glGetError'")

    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(opengl.ctypes.util, "find_library", lambda name: name)
    monkeypatch.setattr(opengl.importlib, "reload", fail)
    opengl.prepare.__wrapped__()
    assert opengl.os.environ.get("MUJOCO_GL") == "egl"


def own_part() -> None:
    config = preset_config("custom", choices={"environment": "lonely:Lonely"})
    config.problem.environment.build(1, horizon=3, render_mode="rgb_array").close()  # pyright: ignore


def own_loop() -> None:
    env = LoopVectorEnv(functools.partial(Lonely, render_mode="rgb_array"), 1)
    env.reset(seed=0, options={"tasks": np.array([[9.0]])})
    env.render()
    env.close()


@pytest.mark.parametrize(("draws", "module"), [(own_part, gymnasium_part), (own_loop, block)])
def test_before_anybodys_environment_draws(
    draws: Callable[[], None], module: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lonely.open.clear()
    prepared: list[bool] = []
    monkeypatch.setattr(module, "prepare", lambda: prepared.append(True))
    draws()
    assert prepared


class Drawing(Lonely):
    """Draws by Gymnasium's renderer, or makes a mistake of its own."""

    mistaken = False

    def render(self) -> Any:
        if self.mistaken:
            raise AttributeError("the user's idea")
        from gymnasium.envs.mujoco.mujoco_rendering import MujocoRenderer

        model = bindings.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
        return MujocoRenderer(model, bindings.MjData(model)).render("rgb_array")


@pytest.mark.parametrize("backend", [None, "vulkan"])
def test_somebodys_mujoco_environment_where_nothing_can_draw(
    backend: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line; a mistake in the environment's own code stays its own error."""
    Lonely.open.clear()
    for name in ("MUJOCO_GL", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if backend is not None:
        monkeypatch.setenv("MUJOCO_GL", backend)
    monkeypatch.setattr(block, "prepare", lambda: None)
    env = LoopVectorEnv(functools.partial(Drawing, render_mode="rgb_array"), 1)
    env.reset(seed=0)
    words = "OpenGL backend vulkan" if backend else "pictures need an OpenGL library that draws without a display"
    with pytest.raises(ContractError, match=words):
        env.render()
    monkeypatch.setattr(Drawing, "mistaken", True)
    with pytest.raises(AttributeError, match="the user's idea"):
        env.render()
    env.close()
