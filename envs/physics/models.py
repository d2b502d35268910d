"""Compiled MuJoCo models of MJCF files."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import gymnasium
import numpy as np

from metarl.envs.physics.binding import MjModel, mujoco
from metarl.envs.physics.protocol import Contacts

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
SENSOR = mujoco.mjtSensor
STAGES = {  # measured quantity -> how far MuJoCo must compute at the new state, for the quantity to be of that state
    "subtree_com": mujoco.mjtStage.mjSTAGE_POS,
    "cinert": mujoco.mjtStage.mjSTAGE_POS,
    "xmat": mujoco.mjtStage.mjSTAGE_POS,
    "subtree_linvel": mujoco.mjtStage.mjSTAGE_VEL,
    "cvel": mujoco.mjtStage.mjSTAGE_VEL,
    "qfrc_actuator": mujoco.mjtStage.mjSTAGE_ACC,
    "cfrc_ext": mujoco.mjtStage.mjSTAGE_ACC,  # as mj_rnePostConstraint, under the controls of the step that led here
}


@functools.cache
def compile_model(
    xml: str, *, timestep: float | None = None, measured: tuple[str, ...] = (), contacts: Contacts | None = None
) -> MjModel:
    """Compile an MJCF file, with sensors for those quantities that MuJoCo computes only if a sensor needs them.

    Do not change the model: calls with equal arguments share it.

    Args:
        xml: path of the file; a name without a folder is a file of Gymnasium's.
        timestep: seconds; None: that of the file.
        measured: keys of `STAGES`.
        contacts: contacts of every geom; None: those of the file.

    Raises:
        ValueError: there is no such file, MuJoCo does not compile it, or the timestep is not positive.
    """
    if timestep is not None and timestep <= 0:
        raise ValueError(f"timestep must be positive; got {timestep}")
    path = Path(xml) if len(Path(xml).parts) > 1 else ASSETS / xml
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        # MuJoCo will drop `settotalmass`, so that the total mass is set below instead.
        total_mass = spec.compiler.settotalmass
        spec.compiler.settotalmass = -1
        if timestep is not None:
            spec.option.timestep = timestep
        if contacts is not None:
            for geom in spec.geoms:
                geom.solref[:] = contacts.solref
                geom.solimp[:3] = contacts.solimp
        body = spec.worldbody.first_body()
        if measured and body is None:
            raise ValueError("it has no body to measure")
        if "subtree_linvel" in measured:
            spec.add_sensor(type=SENSOR.mjSENS_SUBTREELINVEL, objtype=mujoco.mjtObj.mjOBJ_BODY, objname=body.name)
        if "cfrc_ext" in measured:
            # Any sensor of accelerations makes MuJoCo call mj_rnePostConstraint, which computes it.
            body.add_site(name="accelerometer")
            site = mujoco.mjtObj.mjOBJ_SITE
            spec.add_sensor(type=SENSOR.mjSENS_ACCELEROMETER, objtype=site, objname="accelerometer")
        model = spec.compile()
    except (OSError, ValueError) as error:
        raise ValueError(f"{xml} is not a model that MuJoCo compiles: {error}") from error
    if total_mass > 0:
        mujoco.mj_setTotalmass(model, total_mass)
        mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


def checked_measured(measured: Mapping[str, str | None] | None, frame_skip: int) -> dict[str, str | None]:
    """What is measured, by name. Raises ValueError for a name that is not in STAGES, or a frame skip below 1."""
    if unknown := sorted(set(measured or {}) - set(STAGES)):
        raise ValueError(f"cannot measure {unknown[0]!r}: choose from {', '.join(STAGES)}")
    if frame_skip < 1:
        raise ValueError(f"frame_skip must be at least 1; got {frame_skip}")
    return dict(measured or {})


def body_rows(model: MjModel, xml: str, measured: Mapping[str, str | None]) -> dict[str, int | slice]:
    """The row of the measured body in each field of MjData; all rows for None.

    Raises:
        ValueError: there is no such body.
    """
    rows: dict[str, int | slice] = {}
    for name, body in measured.items():
        index = slice(None) if body is None else mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, body)
        if index == -1:
            raise ValueError(f"there is no body {body!r} in {xml}")
        rows[name] = index
    return rows


def columns_of(model: MjModel, carried: Sequence[str], measured: Mapping[str, int | slice]) -> dict[str, slice]:
    """Where a state [S] has each quantity: time, the carried fields of MjData, those measured, and `diverged`."""
    data = mujoco.MjData(model)
    sizes = {"time": 1, **{name: getattr(data, name).size for name in carried}}
    sizes |= {name: getattr(data, name)[rows].size for name, rows in measured.items()} | {"diverged": 1}
    ends = np.cumsum(list(sizes.values()))
    return {name: slice(int(end - size), int(end)) for (name, size), end in zip(sizes.items(), ends, strict=True)}
