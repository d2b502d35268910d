"""The centre of mass of planar robots by a formula, for all simulations at once, so that MuJoCo need not evaluate it.

A planar robot slides in x and z and turns about y; its other joints are hinges about y. With theta_b the angle of body
b, its centre of mass is the root's place + sum_b R(theta_b) w_b, where R turns about y. The constant w_b is the sum,
over all bodies and weighted by their shares of the mass, of the last piece of the way to them that turns with b: from
b's joint to b's own centre of mass, or to the joint of the next body of the chain.

Axes: n simulations, B bodies of the model (the first is the world), V degrees of freedom.
"""

# mujoco's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import functools
from typing import NamedTuple

import numpy as np

from metarl.arrays import Array
from metarl.envs.physics.binding import MjModel, mujoco

GEOMETRY = frozenset({"body_pos", "body_quat", "body_ipos", "jnt_pos", "jnt_axis", "qpos0"})
"""Fields of a model that the formula takes from the model itself: simulations that differ in one need MuJoCo."""
UP = np.array([0.0, 1.0, 0.0])  # the axis of planar hinges
SLIDE, HINGE = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE


class Planar(NamedTuple):
    """What the formula needs of a planar robot; made by `planar`."""

    start: Array  # [V] qpos0
    origin: Array  # [3] the root at qpos0 [m]
    slides: Array  # [V, 3] how the root moves with each degree of freedom
    turns: Array  # [V, B] how the angle of each body does
    arms: Array  # [B, B, 3] arms[i, b]: what a unit of body i's mass adds to mass x w_b [m]
    model_arms: Array  # [3, B - 1, 1] x, y, z of w_b for the model's masses, of all bodies but the world

    def centre_of_mass(self, qpos: Array, qvel: Array, masses: Array | None = None) -> tuple[Array, Array]:
        """The whole robot's centre of mass, in metres, and its velocity, in m/s, each [n, 3].

        A row of the result depends on that row of the arguments alone, in every bit. So sums go over whole columns, in
        one order: what matrix products and NumPy's own sums do depends on n.

        Args:
            qpos: positions [n, V].
            qvel: velocities [n, V].
            masses: of the bodies [n, B], in kg; None: the model's.
        """
        moved, speeds = np.ascontiguousarray((qpos - self.start).T), np.ascontiguousarray(qvel.T)
        angles = np.stack([_sum(factors, moved) for factors in self.turns.T[1:]])
        rates = np.stack([_sum(factors, speeds) for factors in self.turns.T[1:]])
        sines, cosines = np.sin(angles), np.cos(angles)
        x, y, z = self.model_arms if masses is None else _weighted(self.arms, np.ascontiguousarray(masses.T))
        place = [self.origin[k] + _sum(self.slides[:, k], moved) for k in range(3)]
        place[0] = place[0] + sum(cosines * x + sines * z)
        place[1] = place[1] + sum(y)
        place[2] = place[2] + sum(cosines * z - sines * x)
        velocity = [_sum(self.slides[:, k], speeds) for k in range(3)]
        velocity[0] = velocity[0] + sum(rates * (cosines * z - sines * x))
        velocity[2] = velocity[2] - sum(rates * (cosines * x + sines * z))
        return np.stack(place, axis=1), np.stack(velocity, axis=1)


def _weighted(arms: Array, masses: Array) -> Array:
    """x, y and z of w_b of all bodies but the world, [3, B - 1, n], for masses [B, n]."""
    moments = [[_sum(arms[:, b, k], masses) for b in range(1, len(masses))] for k in range(3)]
    return np.array(moments) / _sum(np.ones(len(masses)), masses)


def _sum(factors: Array, rows: Array) -> Array:
    """The sum of rows [m, n] times factors [m], [n]: in the order of the rows, without those that count nothing."""
    parts = [factor * row for factor, row in zip(factors, rows, strict=True) if factor]
    return functools.reduce(np.add, parts) if parts else np.zeros_like(rows[0])


def planar(model: MjModel, body: int) -> Planar | None:
    """The formula for a model whose robot begins with this body; None for a robot that is not planar."""
    hinges, slides = model.jnt_type == HINGE, model.jnt_type == SLIDE
    of_root = model.jnt_bodyid == body
    is_planar = (
        body == 1
        and (model.body_rootid[1:] == body).all()
        and (model.body_quat == [1.0, 0.0, 0.0, 0.0]).all()
        and (hinges | slides).all()
        and (np.abs(model.jnt_axis[hinges]) == UP).all()
        and (model.jnt_pos[hinges] == 0).all()
        and (model.jnt_axis[slides] @ UP == 0).all()
        and of_root[slides].all()
        and not (hinges[:-1] & slides[1:]).any()  # a slide after a hinge would be turned by it
    )
    if not is_planar:
        return None
    turns = np.zeros((model.nv, model.nbody))
    arms = np.zeros((model.nbody, model.nbody, 3))
    for i in range(body, model.nbody):
        parent = model.body_parentid[i]
        turns[:, i] = turns[:, parent]
        own = np.flatnonzero((model.jnt_bodyid == i) & hinges)
        turns[model.jnt_dofadr[own], i] = model.jnt_axis[own] @ UP
    for i in range(body, model.nbody):
        arms[i, i] = model.body_ipos[i]
        child = i
        while child != body:
            parent = model.body_parentid[child]
            arms[i, parent] = model.body_pos[child]
            child = parent
    moves = np.where(slides[:, None], model.jnt_axis, 0.0)
    masses = _weighted(arms, model.body_mass[:, None])
    return Planar(model.qpos0.copy(), model.body_pos[body].copy(), moves, turns, arms, masses)
