"""The formula for a planar robot's centre of mass, against MuJoCo's own evaluation of the same states."""

# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import mujoco
import numpy as np
import pytest

from metarl.envs.physics.models import ASSETS, compile_model
from metarl.envs.physics.mujoco_threads import MujocoThreads
from metarl.envs.physics.planar import Planar, planar

N = 25
MEASURED = {"subtree_com": "torso", "subtree_linvel": "torso"}


def formula(xml: str) -> Planar:
    found = planar(compile_model(xml), 1)
    assert found is not None
    return found


def drawn(model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, model.nq)), rng.normal(scale=3.0, size=(N, model.nv))


@pytest.mark.parametrize("varied", [False, True], ids=["the model's masses", "masses of their own"])
def test_the_formula_is_what_mujoco_evaluates(varied: bool) -> None:
    model = compile_model("half_cheetah.xml", measured=("subtree_linvel",))
    qpos, qvel = drawn(model)
    masses = model.body_mass * np.random.default_rng(1).uniform(0.5, 1.5, (N, model.nbody))
    own = mujoco.MjModel.from_xml_path(str(ASSETS / "half_cheetah.xml"))
    place, velocity = formula("half_cheetah.xml").centre_of_mass(qpos, qvel, masses if varied else None)
    data = mujoco.MjData(own)
    for i in range(N):
        own.body_mass[:] = masses[i] if varied else model.body_mass
        mujoco.mj_setConst(own, data)
        data.qpos[:] = qpos[i]
        data.qvel[:] = qvel[i]
        mujoco.mj_forward(own, data)
        mujoco.mj_subtreeVel(own, data)
        np.testing.assert_allclose(place[i], data.subtree_com[1], rtol=0, atol=1e-13)
        np.testing.assert_allclose(velocity[i], data.subtree_linvel[1], rtol=0, atol=1e-13)


def test_a_row_does_not_depend_on_the_others() -> None:
    qpos, qvel = drawn(compile_model("half_cheetah.xml"))
    place, velocity = formula("half_cheetah.xml").centre_of_mass(qpos, qvel)
    for i in range(N):
        alone = formula("half_cheetah.xml").centre_of_mass(qpos[i : i + 1], qvel[i : i + 1])
        np.testing.assert_array_equal(place[i], alone[0][0])
        np.testing.assert_array_equal(velocity[i], alone[1][0])


@pytest.mark.parametrize("xml", ["ant.xml", "humanoid.xml", "hopper.xml", "walker2d_v5.xml", "swimmer.xml"])
def test_other_robots_are_left_to_mujoco(xml: str) -> None:
    """Free joints, joints away from the origins of their bodies, slides in y."""
    assert planar(compile_model(xml), 1) is None


def test_robots_whose_shape_varies_are_refused_what_the_formula_takes_from_the_model() -> None:
    physics = MujocoThreads("half_cheetah.xml", measured=MEASURED, threads=1)
    qpos, qvel = drawn(physics.model)
    with pytest.raises(ValueError, match="measured by a formula, for which body_ipos must be that of the model"):
        physics.start(qpos, qvel, {"body_ipos": np.repeat(physics.model.body_ipos[None], N, axis=0)})
    states = physics.start(qpos, qvel, {"body_mass": np.repeat(2 * physics.model.body_mass[None], N, axis=0)})
    place, _ = formula("half_cheetah.xml").centre_of_mass(qpos, qvel)
    np.testing.assert_allclose(physics.of(states, "subtree_com"), place)
