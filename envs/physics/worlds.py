"""The memory and the kernels of MuJoCo Warp: worlds on a device, and torch's views of them."""

# MuJoCo's bindings come without types:
# pyright: reportAttributeAccessIssue=false

import contextlib
import importlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.arrays import Array
from metarl.envs.physics.binding import MjModel, mujoco
from metarl.envs.physics.columns import CARRIED
from metarl.extras import needs

with needs("gpu", "simulations on a device"):
    # By name, because they are not among the packages that this project is checked with.
    mujoco_warp: Any = importlib.import_module("mujoco_warp")
    warp: Any = importlib.import_module("warp")

# Else it prints a line for every module that it loads.
warp.config.log_level = warp.LOG_WARNING
warp.init()

KINEMATIC = frozenset({"subtree_com", "cinert", "xmat", "subtree_linvel", "cvel"})  # known without forces
DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0", "actuator_acc0")  # fields that follow from masses
MOST_CONTACTS = 64  # per simulation, of robots whose parts could touch in more places at once
OVERFLOW = mujoco_warp.OverflowType
FULL = {  # what did not fit -> its name in messages
    int(OVERFLOW.NEFC): "constraints",
    int(OVERFLOW.NJMAX_NNZ): "entries of the constraints' Jacobian",
    int(OVERFLOW.BROADPHASE): "pairs of geoms",
    int(OVERFLOW.NARROWPHASE): "contacts",
    int(OVERFLOW.CCD): "contacts of convex geoms",
    int(OVERFLOW.HFIELD): "contacts with height fields",
}


class Worlds:
    """n worlds of MuJoCo Warp, and torch's views of their memory.

    Args:
        model: of all worlds.
        n: how many.
        device: where.
        frame_skip: MuJoCo steps per `step`.
        rows: what is measured -> the body whose row it is, or all bodies.
        varied: fields of the model that differ between worlds.

    Raises:
        ValueError: a field cannot differ between worlds.
    """

    def __init__(
        self,
        model: MjModel,
        n: int,
        device: torch.device,
        frame_skip: int,
        rows: Mapping[str, int | slice],
        varied: set[str],
    ) -> None:
        self.n = n
        self.varied = varied
        self._own = model
        self._frame_skip = frame_skip
        self._device = _device_of_warp(device)
        self._contacts, self._constraints = room(model)
        batched = dict.fromkeys((*varied, *(DERIVED if varied else ())), n)
        with self._in_order():
            self._model = mujoco_warp.put_model(model, batch_sizes=batched)
            # MuJoCo Warp would print what `require_room` says.
            self._model.opt.warn_overflow = 0
            if self._device.is_cuda and not warp.is_conditional_graph_supported():
                # Older drivers cannot record a loop that ends when all have converged: always all iterations.
                self._model.opt.graph_conditional = False
            self._data = mujoco_warp.make_data(model, n, nconmax=self._contacts, njmax=self._constraints)
        self.carried: list[Tensor] = [warp.to_torch(getattr(self._data, name)) for name in CARRIED]
        self._controls = warp.to_torch(self._data.ctrl)
        self._overflow = warp.to_torch(self._data.overflow)
        self._overflowed = torch.zeros_like(self._overflow)  # since the last look at it
        self._measured = {name: warp.to_torch(getattr(self._data, name))[:, body] for name, body in rows.items()}
        self._graph: Any = None
        self._stepped = False

    def load(self, carried: list[Tensor], controls: Tensor) -> None:
        """Put simulations [n, ...] into the first worlds, and the pose at rest into the others."""
        n = len(controls)
        resting = (self._own.qpos0, np.zeros(self._own.nv), np.zeros(self._own.nv))
        for view, values, rest in zip(self.carried, carried, resting, strict=True):
            view[:n] = values
            if n < self.n:
                view[n:] = torch.as_tensor(rest, dtype=view.dtype, device=view.device)
        self._controls[:n] = controls
        self._controls[n:] = 0.0
        self._overflow.zero_()

    def step(self) -> None:
        """Make `frame_skip` MuJoCo steps, and measure."""
        # The first time, Warp compiles and loads kernels, which a recording would not survive everywhere.
        if not self._stepped:
            with self._in_order():
                self._run()
            self._stepped = True
        else:
            if self._graph is None:
                self._graph = self._recorded()
            with self._in_order():
                warp.capture_launch(self._graph)
        self._overflowed |= self._overflow

    def measure(self) -> None:
        """Compute what is measured, of the positions and velocities as they are."""
        with self._in_order():
            self._evaluate()

    def measured(self, n: int) -> dict[str, Tensor]:
        """What is measured of the first n worlds, each [n, size]."""
        return {name: view[:n].reshape(n, -1) for name, view in self._measured.items()}

    def full(self, n: int) -> Tensor:
        """Where something did not fit in the last step, [n]."""
        return (self._overflow[:n] & sum(FULL)) != 0

    def require_room(self, whose: str) -> None:
        """Raise ValueError where something has not fitted since the last call. Waits for the device."""
        found = {bit: int(((self._overflowed & bit) != 0).sum()) for bit in FULL}
        self._overflowed.zero_()
        for bit, count in found.items():
            if count:
                raise ValueError(
                    f"{count} of {self.n} simulations of {whose} had more {FULL[bit]} than there is room for, "
                    f"{self._contacts} contacts and {self._constraints} constraints each: simulate on the CPU "
                    "(--simulator threads)"
                )

    def set_parameters(self, parameters: Mapping[str, Array]) -> None:
        """Give the first worlds these parameters [n, ...], and the model's own to fields that are not among them."""
        for name in self.varied:
            view = warp.to_torch(getattr(self._model, name))
            values = torch.as_tensor(parameters.get(name, getattr(self._own, name)[None]), dtype=view.dtype)
            view[: len(values) if name in parameters else None] = values.to(view.device)
        with self._in_order():
            mujoco_warp.set_const(self._model, self._data)

    def _run(self) -> None:
        for _ in range(self._frame_skip):
            mujoco_warp.step(self._model, self._data)
        self._evaluate()

    def _evaluate(self) -> None:
        if not self._measured:
            return
        if set(self._measured) <= KINEMATIC:
            mujoco_warp.kinematics(self._model, self._data)
            mujoco_warp.com_pos(self._model, self._data)
            mujoco_warp.com_vel(self._model, self._data)
        else:
            mujoco_warp.forward(self._model, self._data)
        if "cfrc_ext" in self._measured:
            mujoco_warp.rne_postconstraint(self._model, self._data)
        if "subtree_linvel" in self._measured:
            mujoco_warp.subtree_vel(self._model, self._data)

    def _recorded(self) -> Any:
        """The kernels of one step, to be replayed. On the CPU they also run once, on the worlds as they are."""
        kept = [view.clone() for view in self.carried]
        with warp.ScopedDevice(self._device), warp.ScopedCapture(device=self._device) as capture:
            self._run()
        for view, values in zip(self.carried, kept, strict=True):
            view.copy_(values)
        self._overflow.zero_()
        return capture.graph

    @contextlib.contextmanager
    def _in_order(self) -> Iterator[None]:
        """Let kernels of Warp run on the device after what torch has queued before, and before what it queues later."""
        with warp.ScopedDevice(self._device):
            if not self._device.is_cuda:
                yield
                return
            ours = warp.stream_to_torch(self._device)
            others = torch.cuda.current_stream(ours.device)
            ours.wait_stream(others)
            yield
            others.wait_stream(ours)


def room(model: MjModel) -> tuple[int, int]:
    """Contacts and constraints that one simulation may have: the most there can be, or MOST_CONTACTS of them.

    A pair of geoms touches in one place if one is a sphere, in two if they are capsules or planes, and else in eight.
    """
    sphere = int(mujoco.mjtGeom.mjGEOM_SPHERE)
    simple = {int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_CAPSULE)}
    contacts = 0
    for i, j in itertools.combinations(range(model.ngeom), 2):
        bodies = model.body_weldid[model.geom_bodyid[[i, j]]]
        parents = model.body_weldid[model.body_parentid[bodies]]
        related = bodies[0] == bodies[1] or (bodies.all() and (parents[0] == bodies[1] or parents[1] == bodies[0]))
        collide = (model.geom_contype[[i, j]] & model.geom_conaffinity[[j, i]]).any()
        if related or not collide:
            continue
        kinds = set(model.geom_type[[i, j]].tolist())
        contacts += 1 if sphere in kinds else 2 if kinds <= simple else 8
    contacts = min(contacts, MOST_CONTACTS)
    most = int(model.geom_condim.max(initial=1))
    pyramidal = model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL and most > 1
    limits = model.jnt_limited.sum() + model.tendon_limited.sum() + (model.dof_frictionloss > 0).sum()
    constraints = contacts * (2 * (most - 1) if pyramidal else most) + int(limits) + 6 * model.neq
    return max(1, contacts), max(1, constraints)


def _device_of_warp(device: torch.device) -> Any:
    """Warp's device for torch's; a GPU without a number is the process's current one."""
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return warp.device_from_torch(device)
