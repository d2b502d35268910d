"""Compiled MuJoCo models of MJCF files."""
# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import functools
from pathlib import Path

import gymnasium

from metarl.envs.physics.binding import MjModel, mujoco
from metarl.envs.physics.protocol import Contacts

ASSETS = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets"
SENSOR = mujoco.mjtSensor


@functools.cache
def compile_model(
    xml: str, *, timestep: float | None = None, measured: tuple[str, ...] = (), contacts: Contacts | None = None
) -> MjModel:
    """Compile an MJCF file, with sensors for those quantities that MuJoCo computes only if a sensor needs them.

    Do not change the model: calls with equal arguments share it.

    Args:
        xml: path of the file; a name without a folder is a file of Gymnasium's.
        timestep: seconds; None: that of the file.
        measured: keys of `mujoco_threads.STAGES`.
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
