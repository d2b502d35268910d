"""MuJoCo Warp: n simulations of one model on a torch device, as a pure function of rows of a tensor.

Axes: n simulations, S state, A actuators. States are float32 (mujoco_threads.py has float64). The kernels of one step
are recorded once and then replayed; they neither copy to the host nor wait for the device. Equal arguments give equal
numbers on the CPU; on a GPU atomic sums of floats may differ in their last bits from one run to the next.
"""

# The bindings of MuJoCo and Warp come without types:
# pyright: reportAttributeAccessIssue=false

import contextlib
import copy
import importlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.arrays import Array, Mask
from metarl.envs.physics.binding import MjModel, mujoco
from metarl.envs.physics.models import body_rows, checked_measured, columns_of, compile_model
from metarl.envs.physics.protocol import LIMIT, Contacts, Physics
from metarl.extras import needs

with needs("gpu", "simulations on a device"):
    # By name, because they are not among the packages that this project is checked with.
    mujoco_warp: Any = importlib.import_module("mujoco_warp")
    warp: Any = importlib.import_module("warp")

# Else it prints a line for every module that it loads.
warp.config.log_level = warp.LOG_WARNING
warp.init()

CARRIED = ("qpos", "qvel", "qacc_warmstart")  # what MuJoCo needs to go on
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


class MujocoDevice(Physics):
    """A model, and worlds on a device that are scratch space: `start` and `step` depend on their arguments alone.

    Args:
        xml: path of an MJCF file; a name without a folder is a file of Gymnasium's.
        device: a torch device, cpu or a GPU.
        frame_skip: MuJoCo steps per `step`.
        timestep: seconds per MuJoCo step; None: that of the file.
        measured: see MujocoThreads.
        contacts: contacts of every geom; None: those of the file.

    Raises:
        ValueError: there is no such file, MuJoCo does not compile it, a quantity or a body is unknown, a number is too
            small.
    """

    def __init__(
        self,
        xml: str,
        *,
        device: str,
        frame_skip: int = 1,
        timestep: float | None = None,
        measured: Mapping[str, str | None] | None = None,
        contacts: Contacts | None = None,
    ) -> None:
        measured = checked_measured(measured, frame_skip)
        self._arguments = {
            "device": device,
            "frame_skip": frame_skip,
            "timestep": timestep,
            "measured": measured,
            "contacts": contacts,
        }
        self.xml = xml
        self.device = torch.device(device)
        self.model = compile_model(xml, timestep=timestep, contacts=contacts)
        if self.model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
            # MuJoCo Warp does not have it. Newton's method solves the same problem, further.
            self.model = copy.copy(self.model)
            self.model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        self.frame_skip = frame_skip
        self.seconds_per_step = frame_skip * self.model.opt.timestep
        self._rows = body_rows(self.model, xml, measured)
        self._columns = columns_of(self.model, CARRIED, self._rows)
        self._worlds: _Worlds | None = None
        self._parameters: Mapping[str, Array] = {}  # those that the worlds have

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild pickles and copies from the arguments, with worlds of their own."""
        return _rebuild, (self.xml, self._arguments)

    @property
    def state_size(self) -> int:
        """S, numbers in a state."""
        return self._columns["diverged"].stop

    def of(self, states: Any, name: str) -> Any:
        """The columns of the states [n, S] that hold a quantity, as a view [n, size]; see `Physics.of`."""
        return states[:, self._columns[name]]

    def start(self, qpos: Any, qvel: Any, parameters: Mapping[str, Array] | None = None) -> Any:
        """States [n, S] at time 0 with given positions [n, nq] and velocities [n, nv], without controls.

        Raises:
            ValueError: a simulation has had more contacts or constraints than there is room for, since the last start.
        """
        n = len(qpos)
        worlds = self._worlds_for(n, parameters or {})
        worlds.require_room(self.xml)
        states = torch.zeros((n, self.state_size), device=self.device)
        for name, values in (("qpos", qpos), ("qvel", qvel)):
            self.of(states, name)[:] = torch.as_tensor(values, dtype=torch.float32)
        worlds.load([self.of(states, name) for name in CARRIED], torch.zeros((n, self.model.nu), device=self.device))
        worlds.measure()
        for name, values in worlds.measured(n).items():
            self.of(states, name)[:] = values
        return states

    def step(self, states: Any, controls: Any, parameters: Mapping[str, Array] | None = None) -> Any:
        """States [n, S] `frame_skip` MuJoCo steps later; further columns of the states stay as they are.

        A simulation that breaks down keeps the state before the step, with `diverged` set. It breaks down where a
        position, a velocity or an acceleration is not finite or beyond LIMIT, or where contacts or constraints do not
        fit.

        Args:
            states: [n, S].
            controls: [n, A], held during the step.
            parameters: see `Physics.start`; the worlds are given them where the mapping is another object than before.
        """
        n = len(states)
        worlds = self._worlds_for(n, parameters or {})
        worlds.load([self.of(states, name) for name in CARRIED], controls)
        worlds.step()
        carried = [view[:n] for view in worlds.carried]
        broken = worlds.full(n)
        for values in carried:
            broken = broken | ~(values.abs() <= LIMIT).all(1)
        pieces = [self.of(states, "time") + self.seconds_per_step, *carried, *worlds.measured(n).values()]
        after = torch.cat([*pieces, states[:, self._columns["diverged"].start :]], 1)
        after = torch.where(broken[:, None], states, after)
        flags: Any = self.of(after, "diverged")[:, 0]
        flags.copy_((flags > 0) | broken)
        return after

    def diverged(self, states: Any) -> Mask:
        """Where the simulation has broken down, [n]."""
        return self.of(states, "diverged")[:, 0] > 0

    def _worlds_for(self, n: int, parameters: Mapping[str, Array]) -> "_Worlds":
        """Worlds for n simulations or more, with these parameters."""
        worlds = self._worlds
        varied = set(parameters) | (set() if worlds is None else worlds.varied)
        if worlds is None or n > worlds.n or varied != worlds.varied:
            worlds = self._worlds = _Worlds(self.model, n, self.device, self.frame_skip, self._rows, varied)
            self._parameters = {}
        if parameters is not self._parameters and varied:
            worlds.set_parameters(parameters)
            self._parameters = parameters
        return worlds


class _Worlds:
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
        with warp.ScopedDevice(self._device):
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


def _rebuild(xml: str, arguments: dict[str, Any]) -> MujocoDevice:
    return MujocoDevice(xml, **arguments)
