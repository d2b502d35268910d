"""MuJoCo Warp: n simulations of one model on a torch device, as a pure function of rows of a tensor.

Axes: n simulations, S state, A actuators. States are float32 (mujoco_threads.py has float64). The kernels of one step
are recorded once and then replayed; they neither copy to the host nor wait for the device. Equal arguments give equal
numbers on the CPU; on a GPU atomic sums of floats may differ in their last bits from one run to the next.
"""

# The bindings of MuJoCo and Warp come without types:
# pyright: reportAttributeAccessIssue=false

import copy
from collections.abc import Mapping
from typing import Any

import torch

from metarl.arrays import Array
from metarl.envs.physics.binding import mujoco
from metarl.envs.physics.columns import CARRIED, ColumnPhysics
from metarl.envs.physics.models import body_rows, checked_measured, columns_of, compile_model
from metarl.envs.physics.protocol import LIMIT, Contacts
from metarl.envs.physics.worlds import Worlds


class MujocoDevice(ColumnPhysics):
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
        self._worlds: Worlds | None = None
        self._parameters: Mapping[str, Array] = {}  # those that the worlds have

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

    def _worlds_for(self, n: int, parameters: Mapping[str, Array]) -> Worlds:
        """Worlds for n simulations or more, with these parameters."""
        worlds = self._worlds
        varied = set(parameters) | (set() if worlds is None else worlds.varied)
        if worlds is None or n > worlds.n or varied != worlds.varied:
            worlds = self._worlds = Worlds(self.model, n, self.device, self.frame_skip, self._rows, varied)
            self._parameters = {}
        if parameters is not self._parameters and varied:
            worlds.set_parameters(parameters)
            self._parameters = parameters
        return worlds
